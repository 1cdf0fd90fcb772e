"""The `vramshare` console script: finds its subcommands, runs one, and answers errors with one line.

Subcommands come from the entry-point group `vramshare.commands`, so that a part which is not installed (the
webhook's image has no NVML) is neither imported nor missed, and others can add their own. Only the chosen one is
imported: `vramshare run` stands in front of a user's program and may not cost it a second.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Final, Protocol, TextIO

from allocator.api.errors import VramshareError

GROUP: Final = "vramshare.commands"
DEBUG: Final = "VRAMSHARE_DEBUG"

FAILED: Final = 1
MISUSED: Final = 2
INTERNAL: Final = 70
"""EX_SOFTWARE of sysexits: a fault of ours, not of who called."""
INTERRUPTED: Final = 130


class Command(Protocol):
    """What an entry point of the group names.

    Attributes:
        help: one line for the list of subcommands.
    """

    help: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Declare the subcommand's own arguments."""

    def run(self, args: argparse.Namespace, /) -> int:
        """Do it; the process' exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    0: done. 1: it failed for a reason that the line on standard error names. 2: called wrongly. 70: a fault of
    ours; `VRAMSHARE_DEBUG=1` shows where. 130: interrupted.
    """
    return run(
        list(sys.argv[1:] if argv is None else argv),
        found={entry.name: entry for entry in entry_points(group=GROUP)},
        stderr=sys.stderr,
        debug=bool(os.environ.get(DEBUG)),
    )


def run(argv: Sequence[str], *, found: Mapping[str, EntryPoint], stderr: TextIO, debug: bool = False) -> int:
    """The same with everything it depends on given."""
    chosen = argv[0] if argv and argv[0] in found else None
    try:
        commands = _load({chosen: found[chosen]} if chosen else found, needed=chosen)
        args = _parser(commands).parse_args(argv)
        command: Command = args.command
        return command.run(args)
    except SystemExit as ended:  # argparse has said why
        return _code(ended)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone (`vramshare top | head`): nothing to say, and Python must not say it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (VramshareError, OSError) as reason:
        stderr.write(f"vramshare{f' {chosen}' if chosen else ''}: {_one_line(reason)}\n")
        return FAILED
    except Exception as reason:  # noqa: BLE001 - the last resort of the process: a line instead of a traceback
        if debug:
            traceback.print_exc(file=stderr)
        stderr.write(
            f"vramshare{f' {chosen}' if chosen else ''}: a fault of vramshare: {type(reason).__name__}: "
            f"{_one_line(reason)} (set {DEBUG}=1 and run again to see where)\n"
        )
        return INTERNAL


def _load(found: Mapping[str, EntryPoint], *, needed: str | None) -> dict[str, Command]:
    """Import the subcommands. One that lacks a package is left out of the list, and an error where asked for."""
    commands: dict[str, Command] = {}
    for name, entry in sorted(found.items()):
        try:
            commands[name] = entry.load()
        except ImportError as reason:
            if name == needed:
                raise VramshareError(f"is not installed here: {reason}; install the package's extra for it") from None
    return commands


def _parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vramshare",
        description="Run several Kubernetes pods on one NVIDIA GPU, each behind a hard VRAM wall.",
    )
    parser.add_argument("--version", action="version", version=f"vramshare {version('vramshare')}")
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        one = chosen.add_parser(name, help=command.help, description=command.help)
        command.add_arguments(one)
        one.set_defaults(command=command)
    return parser


def _code(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else FAILED


def _one_line(reason: BaseException) -> str:
    return " ".join(str(reason).split()) or type(reason).__name__
