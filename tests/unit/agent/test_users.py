"""Which process it is that the driver lists, whose, and what is loaded in it."""

import hashlib
import mmap
import os
import shutil
import threading
import tracemalloc
from pathlib import Path

import pytest

from allocator.agent.gpus import GpuProcess, GpuUsage
from allocator.agent.hostproc import Identity, Proc
from allocator.agent.judge import Loaded
from allocator.agent.maps import Mapped, parse_maps
from allocator.agent.patience import Bounded
from allocator.agent.sight import BLIND, blind
from allocator.agent.trust import DELIVERED, Trust, installed, read
from allocator.agent.users import AGAIN, Users
from tests.unit.agent.test_hostproc import ID, UID, put, stat_of

GPU, GPU_B = "GPU-a", "GPU-b"
FILE = "08:01 99"
MAPS = "7f00-7f01 r-xp 00000000 08:01 99 /opt/vramshare/libvramshare-0.1.0-abcdefabcdef.so\n"


class Scene:
    """A /proc made of files, and who looks at it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.users = Users(proc=Proc(root), trusted=lambda: frozenset({FILE}), monotonic=lambda: self.now)

    def look(self, *pids: int) -> dict[int, Loaded]:
        """What is loaded in each process that the driver lists."""
        usage = GpuUsage(uuid=GPU, processes=tuple(GpuProcess(pid, 5) for pid in pids))
        return {one.process.identity.pid: one.loaded for one in self.users.look([usage])[0]}

    def put(self, pid: int, *, maps: str = MAPS, cgroup: str | None = None) -> None:
        """A process."""
        shutil.rmtree(self.root / str(pid), ignore_errors=True)
        put(self.root, pid, maps=maps, cgroup=cgroup)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """No process yet."""
    return Scene(tmp_path)


def test_a_process_on_two_gpus_is_one_user(scene: Scene) -> None:
    """With what it holds on each."""
    scene.put(10)
    usages = [
        GpuUsage(uuid=GPU, processes=(GpuProcess(10, 5),)),
        GpuUsage(uuid=GPU_B, processes=(GpuProcess(10, None),)),
    ]
    (user,), lost = scene.users.look(usages)
    assert (user.memory, user.loaded, lost) == ({GPU: 5, GPU_B: None}, Loaded.YES, {})
    assert user.process.owner is not None
    assert user.process.owner.uid == UID


def test_the_file_counts_and_not_its_name(scene: Scene) -> None:
    """A tenant may call a file what he likes."""
    scene.put(10, maps=MAPS.replace(" 99 ", " 98 "))
    assert scene.look(10) == {10: Loaded.NO}
    scene.put(11, maps="7f00-7f01 r-xp 00000000 08:01 5 /usr/bin/python3\n")
    assert scene.look(11) == {11: Loaded.NO}


def test_processes_that_are_not_there(scene: Scene) -> None:
    """What they hold is told apart: ended, or of a PID namespace that cannot be seen."""
    usages = [GpuUsage(uuid=GPU, processes=(GpuProcess(10, 5), GpuProcess(0, 7), GpuProcess(11, None)))]
    assert scene.users.look(usages) == ((), {GPU: 12})


def test_a_process_that_hangs_keeps_nobody(scene: Scene) -> None:
    """A map that does not come is said of its pod's processes alone, and is read once it comes."""
    scene.users.bounded = Bounded(0.05)
    scene.put(10, maps="")
    scene.put(11)
    scene.put(12, cgroup=f"0::/kubepods/burstable/pod{UID[:-1]}0/{ID}\n")
    pipe = scene.root / "10/maps"
    pipe.unlink()
    os.mkfifo(pipe)
    for _ in range(2):
        assert scene.look(10, 11, 12) == {10: Loaded.STUCK, 11: Loaded.STUCK, 12: Loaded.YES}
    assert [one.name for one in threading.enumerate()].count("bounded") == 1
    (hung,) = (one for one in threading.enumerate() if one.name == "bounded")
    with pipe.open("wb"):
        pass
    hung.join()
    scene.put(10)
    assert scene.look(10, 11, 12) == {10: Loaded.YES, 11: Loaded.YES, 12: Loaded.YES}


def test_a_pod_whose_maps_take_long_keeps_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two seconds its other processes wait for the next look, at which the first ones are known."""
    for pid in (10, 11, 12):
        scene.put(pid)
    scene.put(13, cgroup=f"0::/kubepods/burstable/pod{UID[:-1]}0/{ID}\n")
    read_at_once = Proc.interposers

    def slowly(proc: Proc, identity: Identity) -> frozenset[Mapped]:
        scene.now += 1.5
        return read_at_once(proc, identity)

    monkeypatch.setattr(Proc, "interposers", slowly)
    assert scene.look(10, 11, 12, 13) == {10: Loaded.YES, 11: Loaded.YES, 12: Loaded.STUCK, 13: Loaded.YES}
    assert scene.look(10, 11, 12, 13) == dict.fromkeys((10, 11, 12, 13), Loaded.YES)


def test_a_large_copy_is_not_held_in_memory(tmp_path: Path) -> None:
    """A pod may have a file of 32 MiB where the interposer would be."""
    file = tmp_path / "large"
    with file.open("wb") as stream:
        stream.truncate(32 << 20)
    tracemalloc.start()
    try:
        assert read(file) is not None
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_the_hosts_own_processes_need_no_interposer(scene: Scene) -> None:
    """They are users all the same: what they hold is foreign."""
    scene.put(10, cgroup="0::/system.slice/x.service\n", maps="")
    (user,), _ = scene.users.look([GpuUsage(uuid=GPU, processes=(GpuProcess(10, 5),))])
    assert user.process.owner is None


def test_a_map_that_may_not_be_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not known; the agent lacks a capability."""
    scene.put(10)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(scene.users.proc, "interposers", refused)
    assert scene.look(10) == {10: Loaded.UNKNOWN}


def test_a_map_in_order_is_read_once_in_a_while(scene: Scene) -> None:
    """A map can have thousands of lines."""
    scene.put(10)
    scene.look(10)
    (scene.root / "10/maps").write_text("7f00-7f01 r-xp 00000000 08:01 5 /usr/bin/python3\n")
    scene.now = AGAIN - 1
    assert scene.look(10) == {10: Loaded.YES}
    scene.now = AGAIN
    assert scene.look(10) == {10: Loaded.NO}


@pytest.mark.parametrize("changed", [{"command": "other"}, {"stack": 8}])
def test_a_process_that_becomes_another_program_is_looked_at_anew(scene: Scene, changed: dict[str, object]) -> None:
    """Its id and its start time stay the same."""
    scene.put(10)
    scene.look(10)
    (scene.root / "10/maps").write_text("7f00-7f01 r-xp 00000000 08:01 5 /usr/bin/python3\n")
    (scene.root / "10/stat").write_bytes(stat_of(10, start=100, **changed))  # type: ignore[arg-type]
    assert scene.look(10) == {10: Loaded.NO}


def test_an_id_that_is_used_again_is_another_process(scene: Scene) -> None:
    """What was known of the old one does not count."""
    scene.put(10)
    scene.look(10)
    scene.put(10, maps="", cgroup="0::/kubepods/pod0b6f7a1e-1234-4abc-8def-00000000000f/" + "cd" * 32 + "\n")
    (scene.root / "10/stat").write_bytes(stat_of(10, start=200))
    (scene.root / "10/maps").write_text("7f00-7f01 r-xp 00000000 08:01 5 /usr/bin/python3\n")
    assert scene.look(10) == {10: Loaded.NO}


def test_processes_that_left_are_forgotten(scene: Scene) -> None:
    """A node on which thousands have run remembers those that it has."""
    for pid in range(10, 20):
        scene.put(pid)
    scene.look(*range(10, 20))
    scene.look(10)
    assert len(scene.users._processes) == len(scene.users._checked) == 1


def put_interposer(folder: Path, content: bytes = b"\x7fELF library", *, name: str = "") -> Path:
    """An interposer as it is installed."""
    file = folder / (name or f"libvramshare-0.1.0-{hashlib.sha256(content).hexdigest()[:12]}.so")
    file.write_bytes(content)
    return file


def mapped_as(file: Path) -> str:
    """How memory maps identify an installed interposer."""
    library = installed(file)
    assert library is not None
    return library.file


def test_an_installed_interposer_is_known_as_maps_show_it(tmp_path: Path) -> None:
    """Read off our own map, and equal to what any process' map shows."""
    file = put_interposer(tmp_path)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ):
        (shown,) = parse_maps([Path("/proc/self/maps").read_bytes()])
    assert mapped_as(file) == shown.file
    assert shown.file.endswith(f" {file.stat().st_ino}")


def test_content_that_is_not_what_the_name_says_is_not_trusted(tmp_path: Path) -> None:
    """Somebody wrote into the folder; nor is an empty file, nor one of another name."""
    assert installed(put_interposer(tmp_path, name="libvramshare-0.1.0-abcdefabcdef.so")) is None
    assert installed(put_interposer(tmp_path, b"", name="libvramshare-0.1.0-e3b0c44298fc.so")) is None
    assert installed(put_interposer(tmp_path, name="libother.so")) is None


def test_versions_that_were_removed_are_still_known(tmp_path: Path) -> None:
    """Old processes have them in their memory."""
    trust = Trust(tmp_path)
    assert trust.identities() == frozenset()
    old, new = put_interposer(tmp_path, b"\x7fELF old"), put_interposer(tmp_path, b"\x7fELF new")
    both = trust.identities()
    assert both == {mapped_as(old), mapped_as(new)}
    old.unlink()
    assert trust.identities() == both
    assert Trust(tmp_path / "missing").identities() == frozenset()


def test_an_interposer_that_cannot_be_read_now_accuses_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not known, instead of all pods being without it; and it is read again at the next look."""
    scene.put(10)
    trust = Trust(scene.root)
    file = put_interposer(scene.root)
    scene.users.trusted = trust.identities
    with monkeypatch.context() as broken:
        broken.setattr("allocator.agent.trust.read", refused)
        assert scene.look(10) == {10: Loaded.UNKNOWN}
    (scene.root / "10/maps").write_text(MAPS.replace(FILE, mapped_as(file)))
    assert scene.look(10) == {10: Loaded.YES}


def refused(_file: Path) -> None:
    """No file can be opened."""
    raise OSError(24, "Too many open files")


def brought(scene: Scene, content: bytes) -> Path:
    """A pod that brought an interposer along, as its process has it mapped."""
    folder = scene.root / "10/root/opt/vramshare"
    folder.mkdir(parents=True)
    file = put_interposer(folder, content, name=DELIVERED)
    library = read(file)
    assert library is not None
    (scene.root / "10/maps").write_text(f"7f00-7f01 r-xp 00000000 {library.file} /opt/vramshare/{DELIVERED}\n")
    trust = Trust(scene.root)
    scene.users.trusted, scene.users.brought = trust.identities, trust.brought
    return file


def test_a_copy_that_a_pod_brought_along_counts_by_its_content(scene: Scene) -> None:
    """Delivered by image or init container it is a file of the pod's, which no agent has installed."""
    scene.put(10)
    put_interposer(scene.root)
    brought(scene, b"\x7fELF library")
    assert scene.look(10) == {10: Loaded.YES}


def test_a_copy_of_other_content_does_not(scene: Scene) -> None:
    """A tenant may bring a file of that name."""
    scene.put(10)
    put_interposer(scene.root)
    brought(scene, b"\x7fELF nothing")
    assert scene.look(10) == {10: Loaded.NO}


@pytest.mark.parametrize("swap", ["another", "link", "fifo", "gone"])
def test_a_copy_beside_the_one_that_is_mapped_does_not_either(scene: Scene, swap: str) -> None:
    """What counts is the mapped file; nor is a link followed, or a FIFO waited for."""
    scene.put(10)
    genuine = put_interposer(scene.root)
    file = brought(scene, b"\x7fELF nothing")
    held = file.rename(file.with_name("kept"))
    if swap == "another":
        shutil.copy(genuine, file)
    elif swap == "link":
        file.symlink_to(genuine)
    elif swap == "fifo":
        os.mkfifo(file)
    assert held.exists()
    assert scene.look(10) == {10: Loaded.NO}


def test_an_agent_in_a_pod_of_its_own_sees_nothing(tmp_path: Path) -> None:
    """Its first process is itself; with the host's processes it is another."""
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    for name, content in (("1", "host"), ("self", "agent")):
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "ns/mnt").write_text(content)
    assert blind(tmp_path, pod) == ""
    (tmp_path / "self/ns/mnt").unlink()
    (tmp_path / "self/ns/mnt").hardlink_to(tmp_path / "1/ns/mnt")
    assert blind(tmp_path, pod) == BLIND
    assert blind(tmp_path, {}) == ""
    assert blind(tmp_path / "missing", pod) == ""
