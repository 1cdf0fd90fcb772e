"""The demo's own processes: started in the background with a log each, all stopped at the end.

The first one started is the last to stop: the cluster, if it is ours, so that the others can take their leave of it.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from demo_show import DemoError
from devcluster.kubelet.shim.system import die_with_parent

_PATIENCE: Final = 20.0
"""Seconds that a process may take to stop before it is killed."""
_TAIL: Final = 15


@dataclass
class Processes:
    """Started processes. A context manager that stops them.

    Attributes:
        folder: where their logs go.
        environment: what they all run with.
    """

    folder: Path
    environment: Mapping[str, str]
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, argv: Sequence[object], **extra: str) -> None:
        """Start a process; its output goes to `<name>.log`."""
        with self.log(name).open("wb") as log:
            # A group of its own: Ctrl-C in the terminal is for the demo, which then stops everything in order.
            self.running[name] = subprocess.Popen(  # noqa: S603 - the demo's own programs
                [str(one) for one in argv],
                env={**self.environment, **extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_us,  # noqa: PLW1509 - one call into the kernel
            )

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self.folder / f"{name}.log"

    def check(self) -> bool:
        """True, so that it can stand in a condition.

        Raises:
            DemoError: a process has ended on its own; shows its last lines.
        """
        for name, process in self.running.items():
            if process.poll() is not None:
                lines = self.log(name).read_text(errors="replace").splitlines()[-_TAIL:]
                raise DemoError(f"{name} ended with exit code {process.returncode}:\n" + "\n".join(lines))
        return True

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        first, rest = list(self.running.values())[:1], list(self.running.values())[1:]
        _stop(rest)
        _stop(first)


def _end_with_us() -> None:
    """Of a process just started: end as if asked to when the demo is killed, which leaves nobody else to ask."""
    die_with_parent(signal.SIGTERM)


def _stop(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
