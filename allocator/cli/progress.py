"""How far a command is, for whoever waits at a terminal for longer than two seconds. Silent everywhere else."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PATIENCE: Final = 2.0
"""Seconds of silence: what is over sooner needs no bar."""


@contextmanager
def progress(text: str, *, steps: int, after: float = PATIENCE) -> Iterator[Callable[[str], None]]:
    """Draw a bar on standard error while the block runs, if that is a terminal.

    Args:
        text: what is done.
        steps: how many there are.
        after: seconds before anything is drawn.

    Yields:
        To be called at the beginning of each step with what it does.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # At a terminal only: an import of rich costs as much as a small command.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(text, total=steps)
    begun = 0

    def step(what: str) -> None:
        nonlocal begun
        bar.update(task, completed=begun, description=f"{text}: {what}")
        begun += 1

    timer = threading.Timer(after, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield step
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
