"""Where the tests find promtool and Prometheus."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "manifests" / "overlays" / "monitoring"


def program(name: str) -> str:
    """Path of promtool or prometheus; skips the test where there is none."""
    own = ROOT / ".prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(own) if own.exists() else None)
    if found is None:
        pytest.skip(f"no {name} here; scripts/prometheus fetches it, and says why where it cannot")
    return found


def promtool(*arguments: object, given: str = "") -> tuple[int, str]:
    """Run promtool; its exit code and all that it says."""
    ended = subprocess.run(  # noqa: S603 - our own words
        [program("promtool"), *map(str, arguments)],
        check=False,
        input=given.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return ended.returncode, ended.stdout.decode()
