"""Which Python has the frameworks that are measured: vramshare's own environment has none of them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PACKAGES: Final = ("torch", "triton", "jax", "cupy-cuda12x", "cupy-cuda13x")
_ITSELF: Final = "import sys; print(sys.executable)"
_HAS_TORCH: Final = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
_VERSIONS: Final = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {"Python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        continue
print(json.dumps(found))
"""


def with_torch() -> Path:
    """This interpreter if it has PyTorch, else the first python3 on PATH that has, else this one."""
    found = (Path(folder, "python3") for folder in os.environ.get("PATH", "").split(os.pathsep) if folder)
    candidates = (Path(sys.executable), *(one for one in found if one.is_file()))
    return next((itself(one) for one in candidates if not _run(one, "-c", _HAS_TORCH).returncode), Path(sys.executable))


def itself(python: Path) -> Path:
    """The interpreter behind a name, which may be a shim that works in its owner's shell only."""
    return Path(_run(python, "-c", _ITSELF).stdout.strip() or python)


def versions(python: Path, packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of an interpreter and of those of the packages that it has."""
    ended = _run(python, "-c", _VERSIONS, *packages)
    found: dict[str, str] = json.loads(ended.stdout) if not ended.returncode else {}
    return found


def _run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """A short program's end; one that cannot be started is one that failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - given or on PATH
    except OSError as reason:
        return subprocess.CompletedProcess(command, 127, stdout="", stderr=str(reason))
