"""Runs a page of docs/ to the letter: its files are written, its commands executed in order, on an installed cluster.

In a page, each ```` ```sh ```` block is executed by bash, with `-euo pipefail`, in a folder that holds the page's
files; a file is a ```` ```yaml ```` (or ini, python, …) block under a line that ends with its name in backquotes and a
colon. What a test cannot run is fenced as `text` and says so. A page's test:

    def test_every_command_of_the_page_works(stage: Stage, tmp_path: Path) -> None:
        shown = Page("operate.md").run(tmp_path, stage.show.environment)
        assert "SchedulingGated" in shown
"""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from demo_stage import Stage, set_up

ROOT: Final = Path(__file__).parents[2]
_FILE: Final = re.compile(r"`([\w.-]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
_COMMANDS: Final = re.compile(r"^( *)```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_ANCHORS: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Page:
    """A page: `docs/<name>`, or a path from the repository's root."""

    def __init__(self, name: str) -> None:
        found = ROOT / "docs" / name
        self.path = found if found.exists() else ROOT / name
        self.text = self.path.read_text()

    def files(self) -> dict[str, str]:
        """The files that the page has its reader write, by name."""
        return dict(_FILE.findall(self.text))

    def commands(self) -> list[str]:
        """The blocks that it has its reader type."""
        return [textwrap.dedent(block) for _, block in _COMMANDS.findall(self.text)]

    def anchors(self) -> set[str]:
        """What a link to a part of it may name, as code hosts make it from headings."""
        return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in _anchored(self.text)}

    def run(self, folder: Path, environment: Mapping[str, str]) -> str:
        """Do what the page says.

        Args:
            folder: where; gets the page's files.
            environment: KUBECONFIG and PATH above all.

        Returns:
            All that the commands printed.
        """
        for name, text in self.files().items():
            (folder / name).write_text(text)
        return "".join(self.execute(block, folder, environment) for block in self.commands())

    def execute(self, block: str, folder: Path, environment: Mapping[str, str]) -> str:
        """One block; what it printed. It must end well."""
        ended = subprocess.run(  # noqa: S603 - the page's own commands
            ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607
            cwd=folder,
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert ended.returncode == 0, f"{self.path.name}: {block}\n{ended.stdout}{ended.stderr}"
        return ended.stdout + ended.stderr


@contextmanager
def installed(folder: Path) -> Iterator[Stage]:
    """An embedded cluster of simulated GPU nodes with vramshare installed; its commands find ours."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        with set_up(folder, given=None) as made:
            yield made
    finally:
        os.environ["PATH"] = before


def _anchored(text: str) -> list[str]:
    """The headings outside fenced blocks."""
    return _ANCHORS.findall(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
