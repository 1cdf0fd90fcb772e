"""When a grant is given back. Pure: from what is known of its pod to what to do.

A pod that has ended or was deleted ends its grant. A pod that is merely not to be seen proves nothing, because a
watch may lag behind: then the API server has to be asked before anything is freed. A grant whose pod was never
seen is asked about only when no create request can still be on its way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from allocator.api.grant import Grant

ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is known of a pod that carries an allocation id.

    Attributes:
        namespace: its namespace.
        name: its name.
        uid: its UID.
        ended: whether its phase is final: no container will run again.
    """

    namespace: str
    name: str
    uid: str
    ended: bool = False


class Verdict(Enum):
    """What to do with a grant.

    KEEP: nothing.
    MARK: write into the ledger that its pod has appeared.
    ASK: its pod is not to be seen; ask the API server, and give it back if there is none.
    RELEASE: give it back.
    """

    KEEP = "keep"
    MARK = "mark"
    ASK = "ask"
    RELEASE = "release"


def holder(grant: Grant, pods: Iterable[PodFacts]) -> PodFacts | None:
    """The pod for which a grant was made, among those that carry its id; one that lives before one that has ended.

    Anyone may write an id into a pod of a namespace that did not opt in; such a pod is not the holder.
    """
    found = None
    for pod in pods:
        if pod.namespace != grant.namespace:
            continue
        if pod.uid == grant.uid if grant.uid else names_pod(grant.pod, pod.name):
            if not pod.ended:
                return pod
            found = found or pod
    return found


def may_have_gone_on(grant: Grant) -> bool:
    """Whether a second create of its pod may have been given the same grant: see `allocator.controller.planning`."""
    return bool(grant.owner) and not grant.uid and not grant.pod.endswith("*")


def names_pod(written: str, name: str) -> bool:
    """Whether a name in the ledger means this pod; before the pod is seen it may be `prefix-*`."""
    return name.startswith(written[:-1]) if written.endswith("*") else name == written


def verdict(grant: Grant, pod: PodFacts | None, *, known: timedelta, grace: timedelta) -> Verdict:
    """What to do with a grant.

    Args:
        grant: as the ledger has it.
        pod: its holder; None: not to be seen.
        known: how long the grant has stood in the ledger under the eyes of whoever decides: what it says of its
            own time was read off another's clock.
        grace: how long a pod may take to appear; longer than any create request may take.
    """
    if pod is not None and not pod.ended:
        return Verdict.KEEP if grant.uid else Verdict.MARK
    if pod is not None and not may_have_gone_on(grant):
        return Verdict.RELEASE
    if grant.uid or known > grace:
        return Verdict.ASK
    return Verdict.KEEP
