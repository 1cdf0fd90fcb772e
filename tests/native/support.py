"""How native tests run programs on simulated GPUs, with and without a slice."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "native" / "build"
MIB = 1 << 20
UUID = "GPU-11111111-2222-3333-4444-555555555555"
OTHER_UUID = "GPU-11111111-2222-3333-4444-666666666666"
CONTEXT = 38 * MIB  # what SMALL_GPU takes for one, shown and hidden
PATIENCE_S = 60


def tool(command: Sequence[str], *, folder: Path = ROOT) -> str:
    """What a build tool prints; it must succeed."""
    done = subprocess.run(  # noqa: S603 - commands come from the tests
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Native:
    """Where the built things are."""

    interposer: Path
    fakegpu: Path
    programs: Path


@dataclass(frozen=True)
class Observation:
    """What NVML says to someone outside the container's view, in bytes."""

    total: int
    used: int
    processes: Mapping[int, int]


@dataclass(frozen=True)
class Machine:
    """Simulated GPUs, and programs that run on them with or without the interposer."""

    native: Native
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def region(self) -> Path:
        """The usage region that capped programs share."""
        return self.folder / "region"

    def environment(self, *, memory: str | None = None, **more: str) -> dict[str, str]:
        """A clean environment; with `memory`, one with the interposer and that slice."""
        result = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "FAKEGPU_DIR": str(self.folder),
            "LD_LIBRARY_PATH": str(self.native.fakegpu),
            **self.settings,
        }
        if memory is not None:
            result |= {
                "LD_PRELOAD": str(self.native.interposer),
                "VRAMSHARE_MEMORY": memory,
                "VRAMSHARE_REGION": str(self.region),
            }
        return result | more

    def command(self, program: str, *arguments: object) -> list[str]:
        """The command line of a test program."""
        return [str(self.native.programs / program), *map(str, arguments)]

    def run(self, command: Sequence[str], *, memory: str | None = None, **more: str) -> str:
        """Runs a program to its end and returns what it printed; it must succeed."""
        done = self.attempt(command, memory=memory, **more)
        assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def attempt(
        self, command: Sequence[str], *, memory: str | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end, whatever that is."""
        return subprocess.run(  # noqa: S603 - commands come from the tests
            command,
            env=self.environment(memory=memory, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def start(self, command: Sequence[str], *, memory: str | None = None, **more: str) -> "Running":
        """Starts a program that reports one line and then waits for one."""
        return Running(
            subprocess.Popen(  # noqa: S603 - commands come from the tests
                command,
                env=self.environment(memory=memory, **more),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def observe(self, uuid: str = UUID) -> Observation:
        """Reads the device from outside."""
        first, *rest = self.run(self.command("observe", uuid)).splitlines()
        values = numbers(first)
        processes = {int(pid): int(held) for pid, held in (line.split() for line in rest)}
        return Observation(values["total"], values["used"], processes)


@dataclass(frozen=True)
class Running:
    """A program that waits in the middle."""

    process: "subprocess.Popen[str]"

    def report(self) -> str:
        """The line that it printed before waiting."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> str:
        """Lets it go on, waits for its end, and returns what else it printed; it must succeed."""
        out, err = self.process.communicate("\n", timeout=PATIENCE_S)
        assert self.process.returncode == 0, (self.process.returncode, out, err)
        return out.strip()

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.communicate()


def numbers(line: str) -> dict[str, int]:
    """The `name=number` words of a line."""
    words = (word.split("=") for word in line.split() if "=" in word)
    return {name: int(value) for name, value in words}


def describe(folder: Path, gpus: Mapping[str, Mapping[str, str]]) -> None:
    """Writes the description of simulated GPUs."""
    text = "".join(
        f"[{uuid}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
        for uuid, values in gpus.items()
    )
    (folder / "gpus.ini").write_text(text)


SMALL_GPU: Mapping[str, str] = {
    "model": "Tesla T4",
    "memory": "1Gi",
    "reserve": "64Mi",
    "context": "32Mi",
    "hidden": "6Mi",
}


@dataclass(frozen=True)
class Container:
    """A command's view of the files that a GPU container has.

    The command gets a mount namespace of its own with /etc/vramshare/allocation,
    /run/vramshare, once there is a timetable /opt/vramshare, and, if asked,
    /etc/ld.so.preload. The host sees none of it.
    """

    folder: Path
    shared: Path | None = None  # the folder that all containers of a node see as /opt/vramshare; None: one's own

    @property
    def library(self) -> Path:
        """The folder that it sees as /opt/vramshare."""
        return self.shared or self.folder / "library"

    @property
    def allocation(self) -> Path:
        """The limits file, as the host sees it."""
        return self.folder / "allocation" / "allocation"

    @property
    def region(self) -> Path:
        """The usage region, as the host sees it."""
        return self.folder / "run" / "region"

    def limit(self, text: str) -> None:
        """Writes the limits file as the kubelet does: a new file in the old one's place."""
        self.allocation.parent.mkdir(exist_ok=True)
        fresh = self.allocation.with_name("fresh")
        fresh.write_text(text)
        fresh.replace(self.allocation)

    @property
    def timetable(self) -> Path:
        """The first GPU's timetable, as the host sees it."""
        return self.library / "gpus" / UUID

    def publish(self, text: str) -> None:
        """Writes the first GPU's timetable as the agent does: a new file in the old one's place."""
        fresh = self.timetable.with_name(".fresh")
        fresh.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text)
        fresh.replace(self.timetable)

    def wrap(self, command: Sequence[str], *, preload: str | None = None) -> list[str]:
        """The command inside the container; `preload` is written to /etc/ld.so.preload."""
        (self.folder / "run").mkdir(exist_ok=True)
        view = self.folder / "etc"
        lines = [
            "set -e",
            f"[ -d {view} ] || cp -a /etc {view} 2>/dev/null || [ -d {view} ]",  # a user may not read all of it
            f"mkdir -p {view}/vramshare",
            f"rm -f {view}/ld.so.preload",
            f"mount --bind {self.folder}/allocation {view}/vramshare",
            f"mount --rbind {view} /etc",
            "mount -t tmpfs none /run",
            "mkdir /run/vramshare",
            f"mount --bind {self.folder}/run /run/vramshare",
        ]
        if self.library.is_dir():
            opt = self.folder / "opt"
            entry = f"[ ! -d $one ] || {{ mkdir {opt}/${{one##*/}} && mount --rbind $one {opt}/${{one##*/}}; }}"
            lines += [
                f"mkdir -p {opt}",
                f"mount -t tmpfs none {opt}",
                f"for one in /opt/*; do {entry}; done",
                f"mkdir -p {opt}/vramshare",
                f"mount --bind {self.library} {opt}/vramshare",
                f"mount --rbind {opt} /opt",
            ]
        if preload is not None:
            lines.append(f"echo {shlex.quote(preload)} > /etc/ld.so.preload")
        lines.append("exec " + shlex.join(command))
        # A user has mounts of its own in a user namespace alone.
        rights = ["--user", "--map-root-user"] if os.geteuid() else []
        return ["unshare", *rights, "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]
