"""Processes of the host: real ones of this machine, and a /proc made of files where a form or an end is wanted."""

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.cgroups import Owner
from allocator.agent.hostproc import HostProcess, Identity, Proc, parse_inner, parse_stat
from allocator.agent.maps import MOST, Mapped, parse_maps

UID = "0b6f7a1e-1234-4abc-8def-000000000001"
ID = "ab" * 32
MOUNTS = (
    "9 2 8:1 /var/lib/kubelet/pods/another/containers/liar/1f2e3d4c /mnt rw - ext4 /dev/sda1 rw\n"
    f"1 2 0:1 /var/lib/kubelet/pods/{UID}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"
    f"3 2 8:1 /var/lib/kubelet/pods/{UID}/containers/main/1f2e3d4c /dev/termination-log rw - ext4 /dev/sda1 rw\n"
)


def stat_of(pid: int, *, start: int, command: str = "python", stack: int = 7) -> bytes:
    """A /proc/<pid>/stat."""
    fields = ["S", "1", *["0"] * 17, str(start), *["0"] * 5, str(stack), *["0"] * 20]
    return f"{pid} ({command}) {' '.join(fields)}\n".encode()


def put(root: Path, pid: int, *, start: int = 100, inner: int = 7, maps: str = "", cgroup: str | None = None) -> None:
    """A process in a /proc made of files."""
    folder = root / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "task").mkdir()
    (folder / "ns/pid").touch()
    (folder / "stat").write_bytes(stat_of(pid, start=start))
    (folder / "status").write_text(f"Name:\tpython\nNSpid:\t{pid}\t{inner}\n")
    (folder / "cgroup").write_text(f"0::/kubepods/burstable/pod{UID}/{ID}\n" if cgroup is None else cgroup)
    (folder / "maps").write_text(maps)
    (folder / "mountinfo").write_text(MOUNTS)


def test_a_process_of_a_container(tmp_path: Path) -> None:
    """Pod and container by its groups, the container's name by the kubelet's mount, its id as the container counts."""
    put(tmp_path, 4711)
    found = Proc(tmp_path).process(4711)
    assert found == HostProcess(
        identity=Identity(pid=4711, start=100, command="python", stack=7),
        owner=Owner(UID, ID),
        inner=7,
        namespace=(tmp_path / "4711/ns/pid").stat().st_ino,
        container="main",
    )


def test_a_process_of_the_host_itself(tmp_path: Path) -> None:
    """It is of no pod."""
    put(tmp_path, 4711, cgroup="0::/system.slice/display-manager.service\n")
    found = Proc(tmp_path).process(4711)
    assert found is not None
    assert found.owner is None


def test_this_very_process() -> None:
    """What the kernel really writes can be read."""
    found = Proc(Path("/proc")).process(os.getpid())
    assert found is not None
    assert found.identity.start > 0
    assert found.namespace == Path("/proc/self/ns/pid").stat().st_ino
    assert os.getpid() in set(Proc(Path("/proc")).pids())


def test_when_the_host_was_started(tmp_path: Path) -> None:
    """Before now; long ago where it cannot be read."""
    assert datetime(2000, 1, 1, tzinfo=UTC) < Proc(Path("/proc")).booted() <= datetime.now(UTC)
    assert Proc(tmp_path).booted() == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_process_that_is_not_there(tmp_path: Path) -> None:
    """No failure: processes end at any moment."""
    assert Proc(tmp_path).process(4711) is None
    (tmp_path / "4711").mkdir()
    (tmp_path / "4711/stat").write_bytes(b"nonsense")
    assert Proc(tmp_path).process(4711) is None


class Reused(Proc):
    """A /proc in which the process is another one as soon as its groups have been read."""

    def owner(self, pid: int) -> Owner | None:
        """Another process takes the id just after."""
        found = super().owner(pid)
        Path(self._root, str(pid), "stat").write_bytes(stat_of(pid, start=101))
        return found


def test_an_id_that_is_used_again_meanwhile(tmp_path: Path) -> None:
    """What was read belongs to neither process."""
    put(tmp_path, 4711)
    assert Reused(tmp_path).process(4711) is None


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A real process that waits."""
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_memory_of_a_real_process_without_the_interposer(sleeper: subprocess.Popen[bytes]) -> None:
    """Its map can be read and holds no interposer."""
    proc = Proc(Path("/proc"))
    identity = proc.identity(sleeper.pid)
    assert identity is not None
    assert proc.interposers(identity) == frozenset()


def test_memory_of_a_process_whose_id_is_used_again(tmp_path: Path) -> None:
    """The newcomer's memory says nothing about the old one."""
    put(tmp_path, 4711, start=101, maps="55-56 r-xp 00000000 08:01 1 /bin/true\n")
    with pytest.raises(ProcessLookupError):
        Proc(tmp_path).interposers(Identity(pid=4711, start=100))


LINE = "7f00-7f01 r-xp 00000000 08:01 99 /opt/vramshare/libvramshare-0.1.0-abcdefabcdef.so"


def test_a_process_whose_first_thread_has_ended(tmp_path: Path) -> None:
    """Its memory shows in its other threads."""
    put(tmp_path, 4711)
    (tmp_path / "4711/task/4712").mkdir()
    (tmp_path / "4711/task/4712/maps").write_text(LINE + "\n")
    assert len(Proc(tmp_path).interposers(Identity(pid=4711, start=100))) == 1


ENDED = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
print(1, flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.fixture
def headless() -> Iterator[int]:
    """A real process whose first thread has ended while another waits."""
    with subprocess.Popen([sys.executable, "-c", ENDED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while b") Z " not in Path(f"/proc/{process.pid}/stat").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process.pid
        process.kill()


def test_mounts_of_a_process_whose_first_thread_has_ended(headless: int, tmp_path: Path) -> None:
    """The kernel refuses to show them with the first thread; by that nobody may end the look at a node."""
    with pytest.raises(OSError, match="Invalid argument"):
        Path(f"/proc/{headless}/mountinfo").read_bytes()
    assert Proc(Path("/proc")).container(headless, UID) == ""
    put(tmp_path, 4711)
    (tmp_path / "4711/mountinfo").write_text("")
    (tmp_path / "4711/task/4712").mkdir()
    (tmp_path / "4711/task/4712/mountinfo").write_text(MOUNTS)
    assert Proc(tmp_path).container(4711, UID) == "main"


def test_owner_of_a_process_whose_first_thread_has_ended(tmp_path: Path) -> None:
    """Version 1 shows that thread in the root: it is a pod's process all the same, and no host's."""
    put(tmp_path, 4711, cgroup="5:memory:/\n2:cpu:/\n0::/system.slice/containerd.service\n")
    (tmp_path / "4711/task/4712").mkdir()
    (tmp_path / "4711/task/4712/cgroup").write_text(f"5:memory:/kubepods/pod{UID}/{ID}\n2:cpu:/\n")
    assert Proc(tmp_path).owner(4711) == Owner(UID, ID)
    assert list(Proc(tmp_path).owners()) == [Owner(UID, ID)]


def test_a_process_without_any_memory_has_ended(tmp_path: Path) -> None:
    """A zombie is no process without the interposer."""
    put(tmp_path, 4711)
    with pytest.raises(ProcessLookupError):
        Proc(tmp_path).interposers(Identity(pid=4711, start=100))


def test_owners_of_all_processes(tmp_path: Path) -> None:
    """Those of no pod and those that have just ended are passed over."""
    put(tmp_path, 1, cgroup="0::/init.scope\n")
    put(tmp_path, 2)
    (tmp_path / "3").mkdir()
    (tmp_path / "meminfo").touch()
    assert list(Proc(tmp_path).owners()) == [Owner(UID, ID)]


@pytest.mark.parametrize("command", ["python", "a b", "x) S 1 (y", ")", ""])
def test_a_command_may_hold_anything(command: str) -> None:
    """Parentheses and blanks in a name move no field."""
    assert parse_stat(5, stat_of(5, start=42, command=command, stack=9)) == Identity(5, 42, command, 9)


@given(text=st.binary())
def test_strange_files(text: bytes) -> None:
    """A stat that is none is refused, a map that is none holds nothing."""
    with pytest.raises(ValueError):
        parse_stat(5, text.replace(b"(", b""))
    assert parse_maps([text]) == frozenset()


def test_interposers_in_a_map() -> None:
    """Each file once, with what identifies it; also one that was removed; other libraries are none."""
    text = "\n".join(
        [
            "00400000-00401000 r-xp 00000000 08:01 5 /usr/bin/python3",
            LINE,
            LINE.replace("r-xp", "r--p"),
            "7f02-7f03 r-xp 00000000 00:2a 12 /opt/vramshare/libvramshare-0.0.9-000000000000.so (deleted)",
            "7f04-7f05 rw-p 00000000 00:00 0 [heap]",
            "7f06-7f07 r-xp 00000000 08:01 6 /tmp/libvramshare-notes.txt",
        ]
    )
    assert parse_maps([text.encode()]) == {
        Mapped("08:01 99", "/opt/vramshare/libvramshare-0.1.0-abcdefabcdef.so"),
        Mapped("00:2a 12", "/opt/vramshare/libvramshare-0.0.9-000000000000.so"),
    }


@given(size=st.integers(1, 200))
def test_a_map_comes_in_pieces(size: int) -> None:
    """Wherever the reading of a line is cut."""
    text = f"{LINE}\n{LINE.replace(' 99 ', ' 98 ')}\n".encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert {one.file for one in parse_maps(pieces)} == {"08:01 99", "08:01 98"}


def test_a_path_makes_no_line() -> None:
    """A return is a character of a path like any other: nobody writes a mapping of an installed file himself."""
    assert parse_maps([f"7f00-7f01 r-xp 00000000 08:01 5 /tmp/a\r{LINE}\n".encode()]) == frozenset()


@pytest.mark.timeout(45)
def test_a_map_of_hostile_paths_costs_little() -> None:
    """64 MiB of names that are nearly an interposer's, each line of the longest path there is."""
    path = "/" + "libvramshare-" * 150 + ".so" * 690
    line = f"7f00-7f01 r-xp 00000000 08:01 5 {path} x\n".encode()
    tracemalloc.start()
    try:
        assert parse_maps(line for _ in range((64 << 20) // len(line))) == frozenset()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_of_many_interposers_the_first_are_told() -> None:
    """Nobody of good faith has so many."""
    lines = (LINE.replace(" 99 ", f" {number} ").encode() + b"\n" for number in range(10 * MOST))
    assert len(parse_maps(lines)) == MOST


def test_kernels_that_do_not_tell_the_inner_id() -> None:
    """The host's id stands for it."""
    assert parse_inner(b"Name:\tx\n", 12) == 12
