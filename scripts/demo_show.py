"""How the demo speaks: every command before its output, every claim with what was found."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

_POLL: Final = 0.25
_BOLD, _GREEN, _RED, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


@dataclass
class Show:
    """Runs commands in front of the audience and keeps count of the claims.

    Attributes:
        environment: of every command, KUBECONFIG above all.
        colour: whether the output is a terminal's.
        failed: claims that did not hold.
        skipped: claims that could not be looked at here.
        held: how many did hold.
    """

    environment: Mapping[str, str]
    colour: bool = field(default_factory=sys.stdout.isatty)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    held: int = 0

    def title(self, text: str) -> None:
        """A chapter."""
        self._print(f"\n{self._in(_BOLD, f'=== {text}')}")

    def say(self, text: str) -> None:
        """A remark."""
        self._print(f"    {text}")

    def run(self, command: str, *, quiet: bool = False) -> str:
        """Run a command as a user would type it, in front of its output.

        Raises:
            DemoError: it failed.
        """
        self._print(self._in(_BOLD, f"$ {command}"))
        ended = self._ended(shlex.split(command))
        if not quiet or ended.returncode:
            self._print((ended.stdout + ended.stderr).rstrip("\n"))
        if ended.returncode:
            raise DemoError(f"`{command}` failed with exit code {ended.returncode}")
        return ended.stdout

    def look(self, command: str) -> None:
        """Run a command as `run` does, and do not mind if it fails."""
        with contextlib.suppress(DemoError):
            self.run(command)

    def ask(self, command: str) -> Any:
        """The JSON that `kubectl get -o json` answers, behind the scenes; None where it fails."""
        ended = self._ended([*shlex.split(command), "-o", "json"])
        return json.loads(ended.stdout) if ended.returncode == 0 else None

    def text(self, command: str) -> str:
        """What a command prints, behind the scenes; empty where it fails."""
        return self._ended(shlex.split(command)).stdout

    def until(self, what: str, look: Callable[[], T | None], *, seconds: float) -> T:
        """Wait until `look` finds something.

        Raises:
            DemoError: it did not in time.
        """
        end = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > end:
                raise DemoError(f"waited {seconds:.0f} s in vain: {what}")
            time.sleep(_POLL)

    def claim(self, text: str, held: bool, found: str = "") -> None:  # noqa: FBT001 - reads as `claim: true`
        """State what the audience should have seen, and whether it was so."""
        behind = f" ({found})" if found else ""
        if held:
            self.held += 1
            self._print(f"{self._in(_GREEN, 'HELD')}    {text}{behind}")
        else:
            self.failed.append(text)
            self._print(f"{self._in(_RED, 'FAILED')}  {text}{behind}")

    def skip(self, text: str, why: str) -> None:
        """State what cannot be shown here."""
        self.skipped.append(text)
        self._print(f"{self._in(_YELLOW, 'SKIPPED')} {text}: {why}")

    def _ended(self, argv: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - the demo's own commands
            argv, env=dict(self.environment), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self.colour else text

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)


def environment(kubeconfig: Path) -> dict[str, str]:
    """What commands run with: this kubeconfig, and no proxy in front of loopback.

    Where this machine is itself a pod, its processes must not take the demo's cluster for that one: an agent in a pod
    that sees no host's processes says so, and proves nothing.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("KUBERNETES_")
    }
    return {**kept, "KUBECONFIG": str(kubeconfig), "NO_PROXY": "*", "no_proxy": "*"}
