"""The `vramshare` console script: finds its subcommands, runs one, and answers errors with one line.

It is also kubectl's plugin, `kubectl vramshare`, and answers kubectl's and the shells' questions about completion.

Subcommands come from the entry-point group `vramshare.commands`, so that a part which is not installed (the
webhook's image has no NVML) is neither imported nor missed, and others can add their own. Only the chosen one is
imported: `vramshare run` stands in front of a user's program and may not cost it a second.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Final, Protocol, TextIO

from allocator.api.errors import MisuseError, VramshareError
from allocator.cli import completion
from allocator.cli.words import Offer, offer

GROUP: Final = "vramshare.commands"
DEBUG: Final = "VRAMSHARE_DEBUG"

FAILED: Final = 1
MISUSED: Final = 2
INTERNAL: Final = 70
"""EX_SOFTWARE of sysexits: a fault of ours, not of who called."""
INTERRUPTED: Final = 130
EXITS: Final = (
    (0, "done"),
    (FAILED, "failed, for the reason on standard error"),
    (MISUSED, "called wrongly"),
    (INTERNAL, f"a fault of vramshare; {DEBUG}=1 shows where"),
    (INTERRUPTED, "interrupted"),
)
DESCRIPTION: Final = "Run several Kubernetes pods on one NVIDIA GPU, each behind a hard VRAM wall."
FIRST_STEPS: Final = (
    ("vramshare doctor", "is this installation well?"),
    ("vramshare map", "which GPUs there are, and who holds what of them"),
    ("vramshare top", "what each container uses of its slice, live"),
    ("vramshare explain -f pod.yaml", "where a pod would go, and why not elsewhere"),
    ("vramshare run --memory 2Gi -- python train.py", "a slice for a plain command, without Kubernetes"),
)


class Command(Protocol):
    """What an entry point of the group names.

    It may also have `examples`, command lines with what each does, and `exits`, exit codes with what each means here.

    Attributes:
        help: one line for the list of subcommands.
    """

    help: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Declare the subcommand's own arguments."""

    def run(self, args: argparse.Namespace, /) -> int:
        """Do it; the process' exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code, one of EXITS."""
    return _enter(list(sys.argv[1:] if argv is None else argv), program="vramshare")


def plugin() -> int:
    """The same as `kubectl vramshare`."""
    return _enter(sys.argv[1:], program="kubectl vramshare")


def kubectl_complete() -> int:
    """Answer kubectl, which asks for completions of `kubectl vramshare`: a line each, and a directive at the end.

    The directives are cobra's (ShellCompDirective): 0, files may follow; 4, nothing else does.
    """
    found = _offer(sys.argv[1:], program="kubectl vramshare")
    sys.stdout.writelines(f"{word}\t{text}\n" if text else f"{word}\n" for word, text in found.words)
    sys.stdout.write(f":{0 if found.files else 4}\n")
    return 0


def _enter(argv: Sequence[str], *, program: str) -> int:
    if argv and argv[0] == completion.ASK:
        found = _offer(argv[1:], program=program)
        sys.stdout.writelines(f"{word}\t{text}\n" for word, text in found.words)
        sys.stdout.write(":files\n" if found.files else "")
        return 0
    return run(argv, found=_found(), stderr=sys.stderr, debug=bool(os.environ.get(DEBUG)), program=program)


def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _offer(words: Sequence[str], *, program: str) -> Offer:
    """What may follow; the last word is the one that is being written."""
    *before, current = words or [""]
    found = _found()
    chosen = next((word for word in before if not word.startswith("-")), None)
    wanted = {chosen: found[chosen]} if chosen in found else found
    return offer(_parser(_load(wanted, needed=None), program=program), before, current)


def run(
    argv: Sequence[str],
    *,
    found: Mapping[str, EntryPoint],
    stderr: TextIO,
    debug: bool = False,
    program: str = "vramshare",
) -> int:
    """The same with everything it depends on given."""
    chosen = argv[0] if argv and argv[0] in found else None
    try:
        commands = _load({chosen: found[chosen]} if chosen else found, needed=chosen)
        args = _parser(commands, program=program).parse_args(argv)
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
        stderr.write(f"{program}{f' {chosen}' if chosen else ''}: {_one_line(reason)}\n")
        return MISUSED if isinstance(reason, MisuseError) else FAILED
    except Exception as reason:  # noqa: BLE001 - the last resort of the process: a line instead of a traceback
        if debug:
            traceback.print_exc(file=stderr)
        stderr.write(
            f"{program}{f' {chosen}' if chosen else ''}: a fault of vramshare: {type(reason).__name__}: "
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


def _parser(commands: Mapping[str, Command], *, program: str) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    begin = [(line, text) for line, text in FIRST_STEPS if line.split()[1] in commands]
    parser = argparse.ArgumentParser(
        prog=program, description=DESCRIPTION, epilog=_epilog(begin, EXITS, program), formatter_class=shape
    )
    parser.add_argument("--version", action="version", version=f"vramshare {version('vramshare')}")
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        exits = {**dict(EXITS), **dict(getattr(command, "exits", ()))}
        epilog = _epilog(getattr(command, "examples", ()), sorted(exits.items()), program)
        one = chosen.add_parser(
            name, help=command.help, description=_sentence(command.help), epilog=epilog, formatter_class=shape
        )
        command.add_arguments(one)
        one.set_defaults(command=command)
    return parser


def _epilog(examples: Iterable[tuple[str, str]], exits: Iterable[tuple[int, str]], program: str) -> str:
    """Examples and exit codes, in the name by which we were called."""
    lines = [f"  {line.replace('vramshare', program, 1)}\n      {text}" for line, text in examples]
    shown = ["examples:", *lines, ""] if lines else []
    shown += ["exit codes:", *(f"  {code:>3}  {text}" for code, text in exits)]
    return "\n".join(shown)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _code(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else FAILED


def _one_line(reason: BaseException) -> str:
    return " ".join(str(reason).split()) or type(reason).__name__
