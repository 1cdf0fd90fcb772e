"""The makefiles mean their own variables, not those of whoever calls them."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["native", "native/tests", "native/tests/fakegpu"])
def test_the_environment_names_no_folder_and_no_version(folder: str) -> None:
    """BUILD and VERSION are common names in CI systems, and `clean` removes the folder that BUILD names."""
    theirs = {"BUILD": "theirs", "TESTS_BUILD": "theirs", "FAKEGPU_BUILD": "theirs", "VERSION": "theirs"}
    said = subprocess.run(  # noqa: S603 - our makefiles
        ["make", "--dry-run", "--always-make", "-C", folder, "all", "clean"],  # noqa: S607 - found on PATH
        cwd=ROOT,
        env={**os.environ, **theirs},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "rm -rf" in said.stdout
    assert "theirs" not in said.stdout
