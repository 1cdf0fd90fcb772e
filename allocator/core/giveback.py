"""When a grant is given back. Pure: from what is known of its pod to what to do.

A pod that has ended or was deleted ends its grant: at once where it was last seen with nothing running, else when the
node's agent has confirmed that nothing of it is left, for the API server forgets a pod that was deleted by force, or
whose node was lost, while its processes may go on. A pod that is merely not to be seen proves nothing, because a
watch may lag behind: then the API server has to be asked before anything is freed. A grant whose pod was never
seen is asked about only when no create request can still be on its way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from allocator.api.grant import Grant

ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is known of a pod that carries an allocation id.

    Attributes:
        namespace: its namespace.
        name: its name.
        uid: its UID.
        ended: whether its phase is final or it was seen to go: it is no reason to keep a grant.
        stopped: whether it was last seen in a state in which no container of it runs or will run.
    """

    namespace: str
    name: str
    uid: str
    ended: bool = False
    stopped: bool = False

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> "PodFacts":
        """The facts of a pod that exists."""
        metadata = pod["metadata"]
        return cls(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata["uid"],
            ended=(pod.get("status") or {}).get("phase") in ENDED,
            stopped=stopped(pod),
        )


class Verdict(Enum):
    """What to do with a grant.

    KEEP: nothing.
    MARK: write into the ledger that its pod has appeared.
    REVIVE: its pod lives after all; it is no longer being released.
    ASK: its pod is not to be seen; ask the API server, and see `absent` if there is none.
    CONFIRM: write into the ledger that it is being released, for the node's agent to confirm.
    RELEASE: give it back.
    """

    KEEP = "keep"
    MARK = "mark"
    REVIVE = "revive"
    ASK = "ask"
    CONFIRM = "confirm"
    RELEASE = "release"


def stopped(pod: Mapping[str, Any]) -> bool:
    """Whether no container of a pod runs or will run, as far as this state of it tells for sure.

    A final phase alone does not: the garbage collector of pods writes one for a lost node too, and leaves the
    containers' states as they were. Without a final phase a container that has ended may be started again unless the
    pod is being deleted, and one that was not seen to start may have.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    states: dict[str, Mapping[str, Any]] = {
        one.get("name", ""): one.get("state") or {}
        for kind in ("initContainerStatuses", "containerStatuses")
        for one in status.get(kind) or ()
    }
    if any("running" in state for state in states.values()):
        return False
    if not spec.get("nodeName") or status.get("phase") in ENDED:
        return True
    named = [one.get("name", "") for kind in ("initContainers", "containers") for one in spec.get(kind) or ()]
    deleting = bool(pod["metadata"].get("deletionTimestamp"))
    return deleting and all("terminated" in states.get(name, {}) for name in named)


def holder(grant: Grant, pods: Iterable[PodFacts]) -> PodFacts | None:
    """The pod for which a grant was made, among those that carry its id; one that lives before one that has ended.

    Anyone may write an id into a pod of a namespace that did not opt in; such a pod is not the holder.
    """
    found = None
    for pod in pods:
        if not made_for(grant, pod):
            continue
        if not pod.ended:
            return pod
        found = found or pod
    return found


def made_for(grant: Grant, pod: PodFacts) -> bool:
    """Whether a pod that carries a grant's id may be the one that it was made for."""
    if pod.namespace != grant.namespace:
        return False
    return pod.uid == grant.uid if grant.uid else names_pod(grant.pod, pod.name)


def may_have_gone_on(grant: Grant) -> bool:
    """Whether a second create of its pod may have been given the same grant: see `allocator.controller.planning`."""
    return bool(grant.owner) and not grant.uid and not grant.pod.endswith("*")


def names_pod(written: str, name: str) -> bool:
    """Whether a name in the ledger means this pod; before the pod is seen it may be `prefix-*`."""
    return name.startswith(written[:-1]) if written.endswith("*") else name == written


def verdict(
    grant: Grant, pod: PodFacts | None, *, known: timedelta, grace: timedelta, confirmed: bool = False
) -> Verdict:
    """What to do with a grant.

    Args:
        grant: as the ledger has it.
        pod: its holder; None: not to be seen.
        known: how long the grant has stood in the ledger under the eyes of whoever decides: what it says of its
            own time was read off another's clock.
        grace: how long a pod may take to appear; longer than any create request may take.
        confirmed: whether the node's agent says that nothing is left of the grant. It counts only once the grant
            is being released: before, an agent may not have seen its pod yet.
    """
    if pod is not None and not pod.ended:
        if grant.releasing is not None:
            return Verdict.REVIVE
        # A grant that another create may have got belongs to none of its pods before all of them must have come.
        return Verdict.KEEP if grant.uid or (may_have_gone_on(grant) and known <= grace) else Verdict.MARK
    if grant.releasing is not None:
        return Verdict.RELEASE if confirmed else Verdict.KEEP
    if pod is not None and not may_have_gone_on(grant):
        return Verdict.RELEASE if pod.stopped else Verdict.CONFIRM
    if grant.uid or known > grace:
        return Verdict.ASK
    return Verdict.KEEP


def absent(grant: Grant, pods: Iterable[PodFacts]) -> Verdict:
    """What to do with a grant of which the API server says that there is no pod.

    Args:
        grant: as the ledger has it.
        pods: those that carried its id, as last seen. A pod that nobody has ever seen never was, or was refused.
    """
    mine = [pod for pod in pods if made_for(grant, pod)]
    if not mine:
        return Verdict.CONFIRM if grant.uid else Verdict.RELEASE
    return Verdict.RELEASE if all(pod.stopped for pod in mine) else Verdict.CONFIRM
