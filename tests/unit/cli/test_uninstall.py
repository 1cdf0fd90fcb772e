"""What uninstalling does with pods that wait."""

from allocator.api import names
from allocator.cli.uninstall import releases


def pod(*gates: str, **metadata) -> dict:
    """A pod behind these gates."""
    found = {"name": "p", "namespace": "team", "uid": "u", "resourceVersion": "7", **metadata}
    return {"metadata": found, "spec": {"schedulingGates": [{"name": one} for one in gates]}}


def test_only_pods_behind_our_gate() -> None:
    """Others' gates, and pods that are going anyway, are nobody's business."""
    assert (
        releases([pod(), pod("other.io/gate"), pod(names.GATE, deletionTimestamp="now"), {"metadata": {"name": "x"}}])
        == []
    )


def test_a_bare_pod_loses_our_gate_alone() -> None:
    """The one at its place, as the pod was read."""
    (found,) = releases([pod("other.io/gate", names.GATE)])
    assert (found.remade, found.gate, found.version) == (False, 1, "7")
    assert "let go, without a GPU" in str(found)


def test_a_controllers_pod_is_made_anew() -> None:
    """As if vramshare had never been."""
    (found,) = releases([pod(names.GATE, ownerReferences=[{"kind": "ReplicaSet", "controller": True}])])
    assert found.remade
