"""Where the demo and its like keep their files, and what is left of them."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo_show import DemoError


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


def played(given: Path | None, *, prefix: str, what: str, play: Callable[[Workspace], int]) -> int:
    """Play something in a workspace; its exit code.

    Args:
        given: the folder; None: a temporary one.
        prefix: of the temporary one's name.
        what: is said to be unable to go on, should that come to pass.
        play: does it; the folder of what fails is kept.
    """
    with workspace(given, prefix=prefix) as space:
        try:
            code = play(space)
        except DemoError as reason:
            print(f"\n{what} cannot go on: {reason}\nLogs are in {space.path}/logs", file=sys.stderr, flush=True)
            code = 1
        except KeyboardInterrupt:
            return 130
        space.kept = space.kept or bool(code)
        return code


def asked_path(text: str) -> Path:
    """A path of the command line, as whoever typed it meant it: the scripts change into the repository."""
    return Path(os.environ.get("INVOKED_FROM", "."), text).absolute()
