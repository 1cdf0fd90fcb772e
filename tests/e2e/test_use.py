"""docs/use.md, followed to the letter on an embedded cluster."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_stage import Stage

from allocator.agent.top import HEADER
from tests.e2e.docs import Page, installed

PAGE = Page("use.md")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster of simulated GPU nodes with vramshare installed."""
    with installed(tmp_path_factory.mktemp("use")) as made:
        yield made


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("demo")
def test_every_command_of_the_page_works(stage: Stage, tmp_path: Path) -> None:
    """In the page's order, with the page's files; the words that the page promises appear."""
    shown = PAGE.run(tmp_path, stage.show.environment)
    assert "allocation.vramshare.io/trainer" in shown
    assert "SchedulingGated" in shown
    assert "100Gi" in shown
    assert "2048? write 2048Mi" in shown
    assert "over the namespace's quota: needs 2Gi of GPU memory; 2Gi of 3Gi are in use" in shown


def test_the_table_of_the_page_is_the_programs() -> None:
    """Its columns, in order."""
    (table,) = re.findall(r"```\n(POD .*?)```", PAGE.text, re.DOTALL)
    assert tuple(table.splitlines()[0].split()) == HEADER
