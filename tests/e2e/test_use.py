"""docs/use.md, followed to the letter on an embedded cluster."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_stage import Stage, set_up

from allocator.agent.top import HEADER

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "use.md").read_text()
_FILE = re.compile(r"`(\w+\.yaml)`:\n\n```yaml\n(.*?)```", re.DOTALL)
_COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster of simulated GPU nodes with vramshare installed."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    with set_up(tmp_path_factory.mktemp("use"), given=None) as made:
        yield made
    os.environ["PATH"] = before


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("demo")
def test_every_command_of_the_page_works(stage: Stage, tmp_path: Path) -> None:
    """In the page's order, with the page's files; the words that the page promises appear."""
    for name, text in _FILE.findall(PAGE):
        (tmp_path / name).write_text(text)
    shown = ""
    for block in _COMMANDS.findall(PAGE):
        ended = subprocess.run(  # noqa: S603 - the page's own commands
            ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607
            cwd=tmp_path,
            env=dict(stage.show.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{block}\n{ended.stdout}{ended.stderr}"
        shown += ended.stdout + ended.stderr
    assert "allocation.vramshare.io/trainer" in shown
    assert "SchedulingGated" in shown
    assert "100Gi" in shown
    assert "2048? write 2048Mi" in shown


def test_the_table_of_the_page_is_the_programs() -> None:
    """Its columns, in order."""
    (table,) = re.findall(r"```\n(POD .*?)```", PAGE, re.DOTALL)
    assert tuple(table.splitlines()[0].split()) == HEADER
