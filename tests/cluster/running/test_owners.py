"""Whose a process is: the kubelet's notes, as the node's agent reads them in the place of control groups."""

import asyncio
import pathlib

import pytest

from allocator.agent.cgroups import owner_of
from allocator.agent.simulated_proc import RECORDS, SimulatedProc

pytestmark = pytest.mark.asyncio(loop_scope="module")


def notes(lab, node="one"):
    """The notes of a node and who reads them."""
    root = pathlib.Path(lab.cluster.host(node).root)
    return root / RECORDS, SimulatedProc(pathlib.Path("/proc"), records=root / RECORDS)


async def process_named(marker):
    """The id, on this machine, of the process whose command line holds a word."""
    async with asyncio.timeout(60):
        while True:
            if found := list(processes(b"sleep", marker.encode())):
                return found[0]
            await asyncio.sleep(0)


def processes(program, word):
    """Ids of processes of a program with this word."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == program and word in words:
            yield int(folder.name)


async def test_a_process_deep_in_a_container(lab):
    """Pod and container of a grandchild, and of a command that was sent in."""
    pod = await lab.pod("p", "sh", "-c", "(sleep 987.25; true) & echo up; wait", nodeName="one")
    assert await lab.first_line("p") == "up"
    _, proc = notes(lab)
    entered = asyncio.ensure_future(lab.kubectl("exec", "p", "--", "sh", "-c", "sleep 987.5; true"))
    for marker in ("987.25", "987.5"):
        pid = await process_named(marker)
        owner = proc.owner(pid)
        assert owner is not None
        assert owner.uid == pod["metadata"]["uid"]
        assert len(owner.container) == 64
        assert proc.container(pid, owner.uid) == "c"
    entered.cancel()
    await lab.delete("p", {"gracePeriodSeconds": 0})


async def test_notes_go_with_their_container(lab):
    """Nothing of an ended container is left to be taken for another's."""
    pod = await lab.pod("p", "true", nodeName="two")
    await lab.phase("p", "Succeeded")
    folder, _ = notes(lab, "two")
    left = [owner_of(note.read_text().splitlines()[1]) for note in folder.glob("[0-9]*")]
    assert all(owner is not None and owner.uid != pod["metadata"]["uid"] for owner in left)


async def test_a_note_of_an_earlier_process_counts_for_nobody(lab, tmp_path):
    """An id that is used again finds another start time in the note."""
    (tmp_path / "1").write_text(
        "1\n0::/kubepods/besteffort/pod0b6f7a1e-0000-4000-8000-000000000001/" + "ab" * 32 + "\nc\n"
    )
    assert SimulatedProc(pathlib.Path("/proc"), records=tmp_path).owner(1) is None
