"""What uninstalling does with pods that wait."""

from typing import Any

import pytest

from allocator.api import names
from allocator.cli.uninstall import let_go, releases
from allocator.kube import InvalidError, NotFoundError


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


class Busy:
    """An API server on which a pod changes under our hands so many times, and is then as `left`."""

    def __init__(self, times: int, left: dict | None) -> None:
        self.times, self.left = times, left
        self.opened: list[tuple[str, str]] = []

    async def patch(self, _resource: Any, _name: str, patch: Any, **_: Any) -> None:
        """Take the patch of the newest version alone."""
        if self.times:
            self.times -= 1
            raise InvalidError("the server rejected our request due to an error in our request")
        self.opened.append((patch[0]["value"], patch[1]["path"]))

    async def get(self, *_: Any, **__: Any) -> dict:
        """The pod as it is now."""
        if self.left is None:
            raise NotFoundError("gone")
        return self.left


class Rests:
    """Time that passes at once."""

    total = 0.0

    async def __call__(self, seconds: float) -> None:
        """Rest."""
        self.total += seconds


@pytest.mark.asyncio
async def test_a_pod_that_changes_meanwhile_is_let_go_all_the_same() -> None:
    """A leader that still runs writes reasons into pods that wait."""
    server = Busy(2, pod("other.io/gate", names.GATE, resourceVersion="9"))
    await let_go(server, releases([pod(names.GATE)])[0], sleep=Rests())  # type: ignore[arg-type]
    assert server.opened == [("9", "/spec/schedulingGates/1")]


@pytest.mark.asyncio
@pytest.mark.parametrize("left", [None, pod(), pod(names.GATE, uid="another")])
async def test_a_pod_that_waits_no_longer_is_left_alone(left: dict | None) -> None:
    """Gone, granted, or another of the same name."""
    server = Busy(1, left)
    await let_go(server, releases([pod(names.GATE)])[0], sleep=Rests())  # type: ignore[arg-type]
    assert not server.opened


@pytest.mark.asyncio
async def test_who_refuses_for_good_is_heard() -> None:
    """Another's policy, say: nobody waits for ever."""
    with pytest.raises(InvalidError):
        await let_go(Busy(1000, pod(names.GATE)), releases([pod(names.GATE)])[0], sleep=Rests())  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_deleted_policy_is_outlasted() -> None:
    """API servers look at their policies every second: for so long the gate may not be opened yet."""
    rests, server = Rests(), Busy(1000, pod(names.GATE))

    async def sleep(seconds: float) -> None:
        await rests(seconds)
        if rests.total > 5:
            server.times = 0

    await let_go(server, releases([pod(names.GATE)])[0], sleep=sleep)  # type: ignore[arg-type]
    assert server.opened
