"""docs/quickstart.md and docs/tutorial.md, followed to the letter; what they show is what was printed."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_stage import Stage

from tests.e2e.docs import Page, installed

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]
_SHOWN = re.compile(r"```sh\n(?P<typed>(?:(?!```).)*)```\n\n```text\n(?P<shown>.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster whose GPUs nobody else holds: the pages show all of them."""
    with installed(tmp_path_factory.mktemp("quickstart")) as made:
        yield made


def normal(text: str) -> str:
    """Up to where a page cuts a line; without the widths of columns."""
    return " ".join(text.partition("…")[0].split())


@pytest.mark.parametrize("name", ["quickstart.md", "tutorial.md", "look.md"])
def test_every_command_works_and_prints_what_the_page_shows(stage: Stage, tmp_path: Path, name: str) -> None:
    """Block by block; every line that stands under a block is in what the block printed."""
    page = Page(name)
    for file, text in page.files().items():
        (tmp_path / file).write_text(text)
    expected = {match["typed"]: match["shown"].splitlines() for match in _SHOWN.finditer(page.text)}
    assert page.commands()
    for block in page.commands():
        printed = page.execute(block, tmp_path, stage.show.environment)
        for line in expected.pop(block, []):
            assert normal(line) in normal(printed), f"{name}: {block}\nshows {line!r}, but printed\n{printed}"
    assert expected == {}


def test_the_picture_of_the_tutorial_is_an_svg(stage: Stage, tmp_path: Path) -> None:
    """Written by the kubectl plugin too, through real kubectl."""
    command = ["kubectl", "vramshare", "map", "--svg", "gpus.svg"]
    environment = dict(stage.show.environment)
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)  # noqa: S603 - kubectl
    assert (tmp_path / "gpus.svg").read_text().startswith("<svg")
