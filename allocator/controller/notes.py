"""What Events say, in words for whoever runs `kubectl describe pod`."""

from allocator.api.grant import Grant
from allocator.core.queue import Waiting
from allocator.kube import Note
from allocator.kube.events import WARNING


def granted_note(grant: Grant, *, pod: str, uid: str) -> Note:
    """A pod has its slices: `Allocated 2Gi, 25% of GPU-… on node x`."""
    slices = [one for slices in grant.allocation.containers.values() for one in slices]
    parts = ", ".join(f"{one.memory.rounded()}{f', {one.cores}%' if one.cores else ''} of {one.uuid}" for one in slices)
    return Note(
        kind="Pod",
        namespace=grant.namespace,
        name=pod,
        uid=uid,
        reason="Allocated",
        message=f"Allocated {parts} on node {grant.allocation.node}",
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
