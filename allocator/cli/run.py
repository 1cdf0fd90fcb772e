"""`vramshare run --memory 2Gi [--cores 25] -- COMMAND`: a slice for one command, on a machine with no Kubernetes.

The interposer is preloaded and told its limits by the environment, which the command and all it starts inherit.
That is an agreement, not a prison: a command may take the variables away. Where limits come from a pod's allocation
file, this command refuses to run: the file wins, and a second slice would only be imagined.
"""

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from allocator import probe
from allocator.api.errors import MisuseError, VramshareError
from allocator.api.quantities import MemoryAsk, MemoryShare, QuantityError, parse_cores, parse_memory_ask

LIBRARY: Final = "libvramshare.so"
ALLOCATION_FILE: Final = Path("/etc/vramshare/allocation")
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of a fresh, unguessable name is made in it
NOT_FOUND: Final = 127
NOT_RUNNABLE: Final = 126
FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Slice:
    """What the command gets.

    Attributes:
        memory: of each GPU.
        cores: GPU time in percent of each GPU; None: no cap.
        interposer: the library to preload.
    """

    memory: MemoryAsk
    cores: int | None
    interposer: Path


class RunCommand:
    """The subcommand."""

    help = "run a command behind a memory wall of its own, without Kubernetes"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say."""
        parser.usage = "vramshare run --memory SIZE [--cores PERCENT] [--region FILE] -- COMMAND [ARGUMENT ...]"
        add = parser.add_argument
        add("--memory", required=True, metavar="SIZE", help="of each GPU: 2Gi, 1536Mi, 20%%")
        add("--cores", metavar="PERCENT", help="GPU time, percent of each GPU; default: no cap")
        add("--region", type=Path, metavar="FILE", help="share the slice with other runs that name the same file")
        add("--interposer", type=Path, metavar="FILE", help="default: VRAMSHARE_INTERPOSER, or as installed")
        add("command_line", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, after --")

    def run(self, args: argparse.Namespace) -> int:
        """Run the command; its exit code, 128 and the signal's number if one ended it, 127 if it is not there."""
        command: list[str] = args.command_line
        command = command[1:] if command[:1] == ["--"] else command
        if not command:
            raise MisuseError("no command given; write it at the end: vramshare run --memory 2Gi -- python3 x.py")
        if ALLOCATION_FILE.exists():
            raise VramshareError(f"{ALLOCATION_FILE} exists: the pod sets the limits here; run {command[0]} as it is")
        asked = slice_of(args, os.environ)
        _check_region(args.region)
        if shutil.which(command[0]) is None:
            if Path(command[0]).is_file():
                return _complain(f"{command[0]}: cannot be run; is it executable?", NOT_RUNNABLE)
            return _complain(f"{command[0]}: no such command", NOT_FOUND)
        with _region(args.region) as region:
            environ = environment(asked, region=region, base=os.environ)
            if problem := probe.load(asked.interposer):
                raise VramshareError(f"{command[0]} is not run, for it would have no wall: {problem}")
            return _wait(command, environ)


def slice_of(args: argparse.Namespace, environ: Mapping[str, str]) -> Slice:
    """Read the arguments.

    Raises:
        MisuseError: one cannot be read.
        VramshareError: there is no interposer.
    """
    try:
        memory = parse_memory_ask(args.memory)
    except QuantityError as reason:
        raise MisuseError(f"--memory {args.memory!r}: {reason}") from None
    try:
        cores = None if args.cores is None else parse_cores(args.cores)
    except QuantityError as reason:
        raise MisuseError(f"--cores {args.cores!r}: {reason}") from None
    return Slice(memory=memory, cores=cores, interposer=find_interposer(args.interposer, environ))


def find_interposer(named: Path | None, environ: Mapping[str, str]) -> Path:
    """The library to preload: the one named, else as installed, else as built in this checkout.

    Raises:
        VramshareError: it is nowhere.
    """
    said = named or (Path(environ["VRAMSHARE_INTERPOSER"]) if environ.get("VRAMSHARE_INTERPOSER") else None)
    checkout = Path(__file__).resolve().parents[2] / "native" / "build"
    usual = [Path("/usr/lib/vramshare"), Path("/usr/local/lib/vramshare"), checkout]
    places = [said] if said else [folder / LIBRARY for folder in usual]
    for place in places:
        if place.is_file():
            return place.resolve()
    looked = ", ".join(str(place) for place in places)
    raise VramshareError(f"no interposer at {looked}; build it with `make -C native`, or name it with --interposer")


def environment(asked: Slice, *, region: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The command's environment: as it was, with the interposer in front of other preloads, and the limits."""
    library = str(asked.interposer)
    if any(separator in library for separator in " :\t\n"):
        raise VramshareError(f"{library}: a path with blanks or colons cannot be preloaded; move the library")
    others = [part for part in base.get("LD_PRELOAD", "").replace(":", " ").split() if part != library]
    result = dict(base) | {
        "LD_PRELOAD": ":".join([library, *others]),
        "VRAMSHARE_MEMORY": _memory(asked.memory),
        "VRAMSHARE_REGION": str(region),
    }
    result.pop("VRAMSHARE_CORES", None)
    if asked.cores is not None:
        result["VRAMSHARE_CORES"] = str(asked.cores)
    return result


def _memory(asked: MemoryAsk) -> str:
    """As the interposer reads it."""
    return str(asked) if isinstance(asked, MemoryShare) else str(asked.count)


def _check_region(named: Path | None) -> None:
    """The interposer would let each process have the whole slice where they can share no file.

    Raises:
        MisuseError: the file can be neither used nor made.
    """
    if named is None or (named.is_file() and os.access(named, os.R_OK | os.W_OK)):
        return
    if named.exists():
        raise MisuseError(f"--region {named}: not a file that can be read and written; name another")
    if not os.access(named.absolute().parent, os.W_OK):
        raise MisuseError(f"--region {named}: its folder is not there, or cannot be written; make it, or name another")


@contextmanager
def _region(named: Path | None) -> Iterator[Path]:
    """A file for the usage region: the one named, else one of this run's own, in memory, removed at its end."""
    if named is not None:
        yield named.absolute()
        return
    home = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="vramshare-", dir=home, ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "region"


def _wait(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run it in our place: signals that come to us go to it, also those that come before it has started."""
    early: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    for number in FORWARDED:
        signal.signal(number, forward)
    # The terminal sends it to both. A handler, for a signal that is ignored here would be ignored by the command too.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    child = subprocess.Popen(command, env=dict(environ))  # noqa: S603 - running what was asked for is the purpose
    for missed in early:
        child.send_signal(missed)
    code = child.wait()
    return 128 - code if code < 0 else code


def _complain(text: str, code: int) -> int:
    """A line in the manner of shells, with their exit codes."""
    os.write(2, f"vramshare run: {text}\n".encode())
    return code


command = RunCommand()
