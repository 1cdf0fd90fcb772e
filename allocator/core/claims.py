"""What a pod says of itself that it holds, and how far that can be believed. Pure.

A pod's annotations repeat its grant. Usually the ledger is what counts and they are but its copy; where the ledger
has no such grant, because somebody deleted it, a backup was restored, or the pod came after its grant had been given
back, they are all there is.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from allocator.api import names
from allocator.api.allocation import Slice, allocation_of
from allocator.api.errors import FormatError
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.core.giveback import PodFacts, made_for

_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)


class Fate(Enum):
    """What becomes of a pod that carries an allocation.

    FINE: the ledger says the same.
    RESTORE: it gets the grant that it carries, if there is room.
    REINSTATE: it gets it whatever the room: its containers may hold the memory already. Where that is more than a
        GPU has, the GPU takes nothing new until enough has ended.
    STOP: it has to go.
    """

    FINE = "fine"
    RESTORE = "restore"
    REINSTATE = "reinstate"
    STOP = "stop"


def claim_of(pod: Mapping[str, Any], *, owner: str) -> Grant | None:
    """The grant that a pod's annotations describe; None: they describe none, or it has ended."""
    metadata = pod["metadata"]
    if (metadata.get("labels") or {}).get(names.INJECT_LABEL) == names.INJECT_DISABLED:
        return None  # the webhook has not looked at it: anything may stand there
    try:
        allocation = allocation_of(metadata.get("annotations") or {})
    except FormatError:
        return None
    if allocation is None or not allocation.containers or PodFacts.of(pod).ended:
        return None
    return Grant(
        allocation=allocation,
        namespace=metadata.get("namespace", ""),
        pod=metadata["name"],
        granted=_time(metadata.get("creationTimestamp", "")),
        uid=metadata["uid"],
        owner=owner,
        revision=max((one.revision for slices in allocation.containers.values() for one in slices), default=0),
    )


def implausible(claim: Grant, inventory: Inventory | None, *, bound: str) -> str:
    """Why a claim cannot be true; empty: it can.

    Args:
        claim: what the pod says.
        inventory: of the node that it names.
        bound: the node that the scheduler gave the pod; empty: none yet.
    """
    node = claim.allocation.node
    if bound and bound != node:
        return f"it is on node {bound}, its annotations say {node}"
    if inventory is None:
        return f"node {node} has no GPUs that vramshare knows of"
    gpus = {gpu.uuid: gpu for gpu in inventory.gpus}
    for container, slices in claim.allocation.containers.items():
        if not slices or len({one.uuid for one in slices}) != len(slices):
            return f"container {container} has no GPU, or one twice"
    for uuid, total in claim.allocation.totals().items():
        if uuid not in gpus:
            return f"node {node} has no GPU {uuid}"
        if total.memory.count <= 0 or total.memory > gpus[uuid].capacity:
            return f"GPU {uuid} has {gpus[uuid].capacity.rounded()}, not {total.memory.rounded()}"
    return ""


def covers(grant: Grant, claim: Grant) -> bool:
    """Whether the ledger's grant is at least what a pod claims, of the same GPUs.

    It may be more for a while: a slice that grows does so in the ledger first, one that shrinks in the pod first.
    """
    mine, theirs = grant.allocation, claim.allocation
    if (mine.id, mine.node, mine.containers.keys()) != (theirs.id, theirs.node, theirs.containers.keys()):
        return False
    return all(
        len(slices) == len(mine.containers[container])
        and all(
            _within(one, most, resized=grant.revision > 0)
            for one, most in zip(slices, mine.containers[container], strict=True)
        )
        for container, slices in theirs.containers.items()
    )


def fate(claim: Grant, held: Grant | None, *, problem: str, fits: bool, started: bool) -> tuple[Fate, str]:
    """What becomes of a pod that carries an allocation, and why it has to go if it has to.

    Args:
        claim: what the pod says.
        held: the ledger's grant of that id.
        problem: why the claim cannot be true; empty: it can.
        fits: whether the ledger has room for it.
        started: whether any container of it may have been started.
    """
    if held is not None:
        wrong = _contradiction(claim, held)
        return (Fate.STOP if wrong else Fate.FINE), wrong
    if started:  # whatever is wrong with it, running work that we granted once is not ours to end
        return (Fate.FINE if problem else Fate.REINSTATE), problem
    if problem:
        return Fate.STOP, f"it has no grant, and what it claims cannot be: {problem}"
    if not fits:
        return Fate.STOP, "its create request took so long that its grant was given back, and others have it now"
    return Fate.RESTORE, ""


def _contradiction(claim: Grant, held: Grant) -> str:
    """What a pod says against the ledger; empty: nothing."""
    if not made_for(held, PodFacts(claim.namespace, claim.pod, claim.uid)):
        return f"its allocation {claim.allocation.id} is another pod's"
    if not covers(held, claim):
        return "its annotations say something else than its grant; they are not for others to write"
    return ""


def may_have_started(pod: Mapping[str, Any]) -> bool:
    """Whether a container of a pod may run, or may have run: a kubelet that was just told of it says nothing yet."""
    status = pod.get("status") or {}
    states = [
        one.get("state") or {}
        for kind in ("initContainerStatuses", "containerStatuses")
        for one in status.get(kind) or ()
    ]
    if not (pod.get("spec") or {}).get("nodeName"):
        return False
    return status.get("phase") != "Pending" or any("waiting" not in state for state in states)


def _within(one: Slice, most: Slice, *, resized: bool) -> bool:
    """Whether a slice is of the same GPU and no larger. No share of time has no cap: only a resize leads there."""
    if one.uuid != most.uuid or one.memory > most.memory:
        return False
    if 0 in (one.cores, most.cores) and not resized:
        return one.cores == most.cores
    return one.cores <= most.cores


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _LONG_AGO
    return found if found.tzinfo else found.replace(tzinfo=UTC)
