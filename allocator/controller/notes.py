"""What Events say, in words for whoever runs `kubectl describe pod`."""

from collections.abc import Iterable

from allocator.api.allocation import Slice
from allocator.api.grant import Grant
from allocator.core.preempt import Victim
from allocator.core.queue import Waiting
from allocator.core.stuck import Unbound
from allocator.kube import Note
from allocator.kube.events import WARNING


def granted_note(grant: Grant, *, pod: str, uid: str) -> Note:
    """A pod has its slices: `Allocated 2Gi, 25% of GPU-… on node x`, each with its container where there are more."""
    containers = grant.allocation.containers
    if len(containers) == 1:
        (parts,) = map(held, containers.values())
    else:
        parts = "; ".join(f"{name}: {held(slices)}" for name, slices in containers.items())
    return Note(
        kind="Pod",
        namespace=grant.namespace,
        name=pod,
        uid=uid,
        reason="Allocated",
        message=f"Allocated {parts} on node {grant.allocation.node}",
    )


def held(slices: Iterable[Slice]) -> str:
    """One container's slices."""
    return ", ".join(f"{one.memory.rounded()}{f', {one.cores}%' if one.cores else ''} of {one.uuid}" for one in slices)


def grant_warning(grant: Grant, *, reason: str, message: str) -> Note:
    """A warning about the pod of a grant."""
    return Note(
        kind="Pod",
        namespace=grant.namespace,
        name=grant.pod,
        uid=grant.uid,
        reason=reason,
        message=message,
        level=WARNING,
    )


def waiting_note(waiting: Waiting, sentence: str) -> Note:
    """A pod waits, and why."""
    return Note(
        kind="Pod",
        namespace=waiting.namespace,
        name=waiting.name,
        uid=waiting.uid,
        reason="WaitingForGpu",
        message=sentence,
        level=WARNING,
    )


def refused_note(grant: Grant, message: str) -> Note:
    """A waiting pod was granted slices, and something does not let them be written into it."""
    return grant_warning(
        grant,
        reason="GrantRefused",
        message=(
            f"could have GPUs on node {grant.allocation.node}, but the change that lets it start was refused; a policy "
            f"or another webhook has to let vramshare's service account patch it: {message}"
        ),
    )


def quota_note(namespace: str, uid: str, problem: str) -> Note:
    """A namespace's quota cannot be read."""
    return Note(
        kind="Namespace",
        namespace=namespace,
        name=namespace,
        uid=uid,
        reason="QuotaUnreadable",
        message=problem,
        level=WARNING,
    )


def preempted_note(victim: Victim, *, priority: int) -> Note:
    """A pod was evicted for one of higher priority."""
    return Note(
        kind="Pod",
        namespace=victim.namespace,
        name=victim.name,
        uid=victim.uid,
        reason="Preempted",
        message=f"makes room on node {victim.node} for a pod of priority {priority}; its own is {victim.priority}",
        level=WARNING,
    )


def releasing_note(grant: Grant) -> Note:
    """A pod is gone, but what it held is not free yet."""
    parts = "; ".join(held(slices) for slices in grant.allocation.containers.values())
    return Note(
        kind="Pod",
        namespace=grant.namespace,
        name=grant.pod.rstrip("*"),
        uid=grant.uid,
        reason="ReleaseWaits",
        message=(
            f"{parts} of this deleted pod stay booked until vramshare's agent on node {grant.allocation.node} confirms "
            f"that no process holds them; see to that agent, or delete the Node if the machine is gone"
        ),
        level=WARNING,
    )


def eviction_note(grant: Grant, reason: str, *, now: bool) -> Note:
    """A pod is not isolated and has to go; `now`: it is going, else a disruption budget keeps it for the moment."""
    what = "evicted" if now else "to be evicted, which a disruption budget forbids for now"
    return grant_warning(
        grant,
        reason="NotIsolated",
        message=f"{what}: {reason or 'it is not isolated'} (found by vramshare's agent on {grant.allocation.node})",
    )


def stuck_note(pod: Unbound, problem: str, *, waited: float) -> Note:
    """A granted pod gets no node; why, and what becomes of it."""
    why = problem or "the scheduler has not said why; is one running for this pod's schedulerName?"
    if not problem:
        then = ""
    elif pod.owner:
        then = f"; it is evicted so that its {pod.owner.partition('/')[0]} creates it anew"
    else:
        then = "; no controller owns it: make room there, or delete it and create it again"
    return Note(
        kind="Pod",
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        reason="NotBound",
        message=f"holds GPU memory on node {pod.node} and has had no node for {waited:.0f} s: {why}{then}",
        level=WARNING,
    )
