"""Where the demo and its like keep their files, and what is left of them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Workspace:
    """The folder of one run.

    Attributes:
        path: absolute.
        kept: whether it outlives the run.
    """

    path: Path
    kept: bool


@contextmanager
def workspace(given: Path | None, *, prefix: str) -> Iterator[Workspace]:
    """A folder for a run: the given one, else a temporary one, which goes with a run that did not fail.

    A run that is interrupted, Ctrl-C being how a demo ends, leaves nothing.
    """
    space = Workspace((given or Path(tempfile.mkdtemp(prefix=prefix))).resolve(), kept=given is not None)
    space.path.mkdir(parents=True, exist_ok=True)
    try:
        yield space
    except Exception:
        space.kept = True
        raise
    finally:
        if not space.kept:
            shutil.rmtree(space.path, ignore_errors=True)


def asked_path(text: str) -> Path:
    """A path of the command line, as whoever typed it meant it: the scripts change into the repository."""
    return Path(os.environ.get("INVOKED_FROM", "."), text).absolute()
