"""Who else gives out this node's GPUs."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.neighbours import CHECKPOINT, DRA, DRIVER, PLUGIN, Neighbourhood, Neighbours, judge, look, parse
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory

A, B = (f"GPU-00000000-0000-4000-8000-00000000000{at}" for at in range(2))
MINE, GONE = "0b6f7a1e-1234-4abc-8def-000000000001", "0b6f7a1e-1234-4abc-8def-000000000002"
NODE = Inventory(
    node="n1",
    gpus=tuple(Gpu(uuid, at, "Tesla T4", Memory.mib(1000), Memory.mib(100)) for at, uuid in enumerate((A, B))),
)
DATA = {
    "PodDeviceEntries": [
        {"PodUID": MINE, "ContainerName": "c", "ResourceName": "nvidia.com/gpu", "DeviceIDs": {"-1": [A]}},
        {"PodUID": GONE, "ContainerName": "c", "ResourceName": "nvidia.com/gpu", "DeviceIDs": {"0": [f"{B}::3"]}},
        {"PodUID": MINE, "ContainerName": "c", "ResourceName": "example.com/card", "DeviceIDs": {"-1": [B]}},
    ],
    "RegisteredDevices": {"nvidia.com/gpu": [A], "nvidia.com/gpu.shared": [f"{B}::0"], "example.com/card": ["x"]},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node whose kubelet knows of a device plugin; one of its two pods has ended."""
    kubelet = tmp_path / "var/lib/kubelet"
    (kubelet / "pods" / MINE).mkdir(parents=True)
    (kubelet / CHECKPOINT).parent.mkdir()
    (kubelet / CHECKPOINT).write_text(json.dumps({"Data": DATA, "Checksum": 1}))
    return tmp_path


def health(found: Neighbours, *, share: bool = False) -> list[str]:
    """What is said of the two GPUs."""
    return [gpu.health for gpu in judge(NODE, found, share=share).gpus]


def test_what_a_device_plugin_offers_and_has_given_out(root: Path) -> None:
    """Replicas are the GPU that they share; a pod that has ended has nothing; other resources are not NVIDIA's."""
    assert look(root) == Neighbours(offered=frozenset({A, B}), taken={A: frozenset({MINE})})
    assert look(root).pods == {MINE}


def test_its_gpus_take_no_grants() -> None:
    """With what to do about it; another trouble stays in front."""
    assert health(Neighbours(offered=frozenset({B}))) == ["ok", PLUGIN]
    assert health(Neighbours(taken={A: frozenset({MINE})})) == [PLUGIN, "ok"]
    sick = replace(NODE, gpus=(replace(NODE.gpus[0], health="Xid 79"),))
    assert judge(sick, Neighbours(offered=frozenset({A})), share=False) == sick


def test_shared_gpus_are_used_while_no_pod_has_them(root: Path) -> None:
    """One that a pod got is foreign in full."""
    judged = Neighbourhood(root, share=True).judge(NODE)
    assert [gpu.health for gpu in judged.gpus] == ["ok", "ok"]
    assert [gpu.foreign for gpu in judged.gpus] == [Memory.mib(900), Memory(0)]


def test_a_dra_driver_gives_out_all(root: Path) -> None:
    """Known by its socket; a folder that it left behind is none."""
    (root / "var/lib/kubelet" / CHECKPOINT).unlink()
    folder = root / "var/lib/kubelet" / DRA
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text("{}")
    assert look(root) == Neighbours()
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as place:
        place.chdir(folder)  # a socket's path may not be long
        server.bind("dra.sock")
        assert health(look(root)) == [DRIVER, DRIVER]
        assert health(look(root), share=True) == ["ok", "ok"]


def test_a_node_without_neighbours_or_kubelet(tmp_path: Path) -> None:
    """Nothing is marked."""
    assert Neighbourhood(tmp_path).judge(NODE) == NODE


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.just(A),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*DATA, "Data", "PodUID", "ResourceName", "DeviceIDs"]), inner, max_size=4
            )
        ),
    )
)
def test_a_checkpoint_of_another_form_says_nothing_wrong(value: object) -> None:
    """Kubelets change what they write; whatever it is, reading it ends."""
    parse(json.dumps(value).encode())
    parse(json.dumps({"Data": value}).encode())
    assert parse(b"\xff{") == Neighbours()
