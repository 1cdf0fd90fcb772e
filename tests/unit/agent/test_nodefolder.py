"""Looking at the kubelet's folder again and again sees what one thorough look sees."""

import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.agent import nodefolder
from allocator.agent.kubelet import Container, containers
from allocator.agent.nodefolder import NodeFolder
from allocator.api.allocation import Slice, allocation_text, tenant_name
from allocator.api.quantities import Memory
from allocator.api.request import MOST_CONTAINERS
from tests.unit.agent.nodes import Node
from tests.unit.agent.test_region import made

UIDS = tuple(f"0b6f7a1e-0000-4000-8000-00000000000{at}" for at in range(3))
GPU = "GPU-00000000-0000-4000-8000-000000000001"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without pods."""
    return Node(tmp_path)


def folder_of(node: Node) -> NodeFolder:
    """What looks at it."""
    return NodeFolder(kubelet=node.kubelet, logs=node.logs)


actions = st.lists(
    st.tuples(
        st.sampled_from(["pod", "allocate", "resize", "region", "gone", "break", "look"]),
        st.sampled_from(UIDS),
        st.sampled_from(["main", "side"]),
        st.integers(1, 9),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=actions)
def test_what_is_remembered_is_what_is_there(tmp_path: Path, actions: list[tuple[str, str, str, int]]) -> None:
    """Whatever pods come, go, are resized or damage their files between two looks."""
    root = tmp_path / "node"
    shutil.rmtree(root, ignore_errors=True)
    node = Node(root)
    seen = folder_of(node)
    for action, uid, container, size in [*actions, ("look", "", "", 0)]:
        match action:
            case "pod":
                node.pod(uid, f"team/{container}")
            case "allocate" | "resize":
                node.allocate(uid, container, f"{GPU} memory={size} cores=0\n")
            case "region":
                node.region(uid, container).write_bytes(made() if size > 2 else b"nonsense")
            case "gone":
                shutil.rmtree(node.kubelet / "pods" / uid, ignore_errors=True)
            case "break":
                node.allocate(uid, container, "?\n")
            case _:
                thorough = list(containers(node.kubelet, logs=node.logs))
                found = seen.containers(regions=True)
                assert [_facts(one) for one in found] == [_facts(one) for one in thorough]


def _facts(one: Container) -> tuple[object, ...]:
    """What counts. Of a broken allocation the one look keeps the last good slices, the other looks no further."""
    if one.problem and not one.problem.startswith("region"):
        return one.uid, one.name, one.pod, "broken"
    return one.uid, one.name, one.pod, one.slices, one.region, one.problem


def test_what_has_not_changed_is_not_read_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a quiet node opens no allocation."""
    node.pod(UIDS[0], "team/worker")
    node.allocate(UIDS[0], "main", f"{GPU} memory=5 cores=0 tenant=a/main\n")
    folder = folder_of(node)
    first = folder.containers(regions=False)
    monkeypatch.setattr(nodefolder, "read_allocation", None)
    assert folder.containers(regions=False) == first


def test_a_folder_that_has_just_changed_is_listed_again(node: Node) -> None:
    """Two changes within one tick of the file system's clock look like one."""
    later = time.time_ns() + 10**12
    folder = NodeFolder(kubelet=node.kubelet, logs=node.logs, now=lambda: later)
    node.pod(UIDS[0])
    assert folder.pods() == (UIDS[0],)
    assert folder._pods.changed
    fresh = folder_of(node)
    assert fresh.pods() == (UIDS[0],)
    assert not fresh._pods.changed


def test_a_clock_that_jumps_back_hides_no_pod(node: Node) -> None:
    """Folders that seem to have changed in the future are listed each time."""
    folder = NodeFolder(kubelet=node.kubelet, logs=node.logs, now=lambda: 5)
    assert folder.pods() == ()
    node.pod(UIDS[0])
    assert folder.pods() == (UIDS[0],)


def test_use_is_read_when_asked_for(node: Node) -> None:
    """And kept until the next time it is."""
    node.pod(UIDS[0])
    node.allocate(UIDS[0], "main", f"{GPU} memory=5 cores=0\n")
    node.region(UIDS[0], "main").write_bytes(made())
    folder = folder_of(node)
    (one,) = folder.containers(regions=False)
    assert one.region is None
    (one,) = folder.containers(regions=True)
    assert one.region is not None
    assert folder.containers(regions=False) == [one]


def test_use_is_read_of_those_who_count(node: Node) -> None:
    """A pod with volumes named like ours has no region read that it might make long."""
    for uid in UIDS[:2]:
        node.pod(uid)
        node.allocate(uid, "main", f"{GPU} memory=5 cores=0\n")
        node.region(uid, "main").write_bytes(made())
    found = folder_of(node).containers(regions=True, whose=lambda there: [one for one in there if one.uid == UIDS[1]])
    assert [(one.uid, one.region is not None) for one in found] == [(UIDS[0], False), (UIDS[1], True)]


def test_a_pod_that_names_processes_without_end_is_not_believed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty containers, each with a region full of them, would be more than the agent has memory for."""
    monkeypatch.setattr(nodefolder, "MOST_PROCESSES", 4)
    for uid, container in ((UIDS[0], "a"), (UIDS[0], "b"), (UIDS[1], "a")):
        node.pod(uid)
        node.allocate(uid, container, f"{GPU} memory=5 cores=0\n")
        node.region(uid, container).write_bytes(made())
    found = folder_of(node).containers(regions=True)
    assert [one.problem for one in found] == ["", nodefolder.CROWDED, ""]
    assert [one.region is not None for one in found] == [True, False, True]


@pytest.mark.parametrize("length", [42, 43, 63])
def test_a_container_with_a_long_name_is_a_tenant(node: Node, length: int) -> None:
    """Its volume has a shorter one; the ledger, the region's folder and the kernel know it by its own."""
    name = "c" * length
    node.pod(UIDS[0], "team/p")
    text = allocation_text((Slice(GPU, Memory(5), 0),), tenant=tenant_name("grant-1", name))
    node.allocate(UIDS[0], name, text)
    node.region(UIDS[0], name).write_bytes(made())
    for found in (list(containers(node.kubelet, logs=node.logs)), folder_of(node).containers(regions=True)):
        (one,) = found
        assert (one.name, one.region is not None) == (name, True)


@pytest.mark.parametrize("named", ["other", "../../x", "c/" * 30, ""])
def test_the_name_in_an_allocation_counts_where_it_is_the_volumes(node: Node, named: str) -> None:
    """Elsewhere it is a lie, or a path out of the pod's folder."""
    node.pod(UIDS[0])
    node.allocate(UIDS[0], "main", f"{GPU} memory=5 cores=0 tenant=grant-1/{named}\n")
    assert [one.name for one in folder_of(node).containers(regions=True)] == ["main"]


def test_of_one_pod_so_many_are_looked_at(node: Node) -> None:
    """No pod has more slices; one with thousands of such volumes only wants to be work."""
    node.pod(UIDS[0])
    for at in range(MOST_CONTAINERS + 1):
        node.allocate(UIDS[0], f"c{at}", f"{GPU} memory=5 cores=0\n")
    assert len(folder_of(node).containers(regions=True)) == MOST_CONTAINERS


def test_a_broken_allocation_keeps_the_last_good_one_and_is_tried_again(node: Node) -> None:
    """A half-written file takes nobody's slice away."""
    node.pod(UIDS[0])
    node.allocate(UIDS[0], "main", f"{GPU} memory=5 cores=0\n")
    folder = folder_of(node)
    (good,) = folder.containers(regions=False)
    node.allocate(UIDS[0], "main", "?\n")
    (broken,) = folder.containers(regions=True)
    assert broken.slices == good.slices
    assert broken.problem
    node.allocate(UIDS[0], "main", f"{GPU} memory=6 cores=0\n")
    (again,) = folder.containers(regions=True)
    assert (again.slices[0].memory.count, again.problem) == (6, "")


def test_a_quick_look_sees_volumes_that_come_late(node: Node) -> None:
    """The kubelet makes a pod's folder first; a thorough look sees also what comes later than is usual."""
    seconds = time.time_ns()
    folder = NodeFolder(kubelet=node.kubelet, logs=node.logs, now=lambda: seconds)
    node.pod(UIDS[0])
    seconds += 10**10
    assert folder.containers(regions=False) == []
    node.allocate(UIDS[0], "main", f"{GPU} memory=5 cores=0\n")
    assert len(folder.containers(regions=False)) == 1
    seconds += 10**12
    folder.containers(regions=True)
    node.allocate(UIDS[0], "side", f"{GPU} memory=5 cores=0\n")
    assert len(folder.containers(regions=False)) == 1
    assert len(folder.containers(regions=True)) == 2
    assert len(folder.containers(regions=False)) == 2


def test_no_kubelet_folder_is_no_container(tmp_path: Path) -> None:
    """It may be mounted later."""
    folder = NodeFolder(kubelet=tmp_path / "kubelet", logs=tmp_path / "logs")
    assert folder.containers(regions=True) == []
    (tmp_path / "kubelet/pods" / UIDS[0]).mkdir(parents=True)
    assert folder.pods() == (UIDS[0],)


def test_pods_that_left_are_forgotten(node: Node) -> None:
    """A node on which thousands of pods have run remembers those that it has."""
    folder = folder_of(node)
    for at in range(200):
        uid = f"pod-{at}"
        node.pod(uid)
        folder.containers(regions=False)
        (node.kubelet / "pods" / uid).rmdir()
    assert len(folder._volumes) < 100
