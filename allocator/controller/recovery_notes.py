"""What Events say of recovery: grants that were lost, doubted or changed, in words for `kubectl describe pod`."""

from allocator.api.allocation import Allocation
from allocator.api.grant import Grant
from allocator.controller.notes import grant_warning, held
from allocator.kube import Note


def restored_note(grant: Grant) -> Note:
    """A pod carries a grant that the ledger had lost, and has it again."""
    parts = "; ".join(held(slices) for slices in grant.allocation.containers.values())
    return grant_warning(
        grant,
        reason="GrantRestored",
        message=f"its grant was missing in the ledger of node {grant.allocation.node}; {parts} is booked for it again",
    )


def stopped_note(grant: Grant, why: str) -> Note:
    """A pod has no right to what it carries and is deleted."""
    return grant_warning(grant, reason="Stopped", message=f"deleted: {why}; create it again")


def trouble_note(grant: Grant, sentence: str) -> Note:
    """Something is wrong with the GPUs under a pod."""
    return grant_warning(
        grant, reason="GpuTrouble", message=f"{sentence}; the pod is left alone, and nothing new is granted there"
    )


def resized_note(grant: Grant, before: Allocation, after: Allocation) -> Note:
    """A running pod has another size."""
    parts = "; ".join(
        f"{container}: {held(before.containers[container])} became {held(slices)}"
        for container, slices in after.containers.items()
        if slices != before.containers[container]
    )
    return Note(
        kind="Pod",
        namespace=grant.namespace,
        name=grant.pod,
        uid=grant.uid,
        reason="Resized",
        message=f"{parts}; the container sees it within a minute or two, without a restart",
    )


def waiting_resize_note(grant: Grant, sentence: str) -> Note:
    """A running pod asks for a size that it cannot have now."""
    return grant_warning(grant, reason="ResizeWaits", message=f"{sentence}; it keeps its size until then")
