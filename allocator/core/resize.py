"""A running pod's slices change size. Pure; the order of things is what keeps it safe.

First the ledger, by a compare-and-swap: it counts the larger of the old size and the new, if there is room. Then the
pod's annotations, from which the container learns its new size. Where that is smaller, the ledger follows when the
node's agent says that the container knows it and uses no more, for memory that is still held is promised to nobody. So
the ledger is never less than what a container may use.

Every write of the ledger raises the grant's revision, and what is written into the pod carries it. Whoever decides on
an older revision is refused, and what an agent said of an older one, though of the same size, counts for nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from allocator.api import names
from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import RequestError
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.api.quantities import NO_MEMORY, Memory, QuantityError, parse_cores, parse_memory_ask
from allocator.api.settled import Settled
from allocator.core.demand import resolve
from allocator.core.ledger import FULL_CORES, Ledger, Use


def wanted(annotations: Mapping[str, str], allocation: Allocation, inventory: Inventory) -> Allocation:
    """What a pod's normalised request asks of the GPUs that it has.

    Args:
        annotations: the pod's.
        allocation: what it has; its containers, their GPUs and policies stay.
        inventory: of its node, for shares of a GPU.

    Raises:
        RequestError: a size cannot be read, or is more than its GPU.
    """
    capacities = {gpu.uuid: gpu.capacity.count for gpu in inventory.gpus}
    containers = {
        container: tuple(_sized(one, container, annotations, capacities.get(one.uuid, 0)) for one in slices)
        for container, slices in allocation.containers.items()
    }
    return replace(allocation, containers=containers)


def covering(*allocations: Allocation) -> Allocation:
    """The smallest that is as large as each of these, slice by slice; they are of the same GPUs."""
    first, *others = allocations
    containers = {
        container: tuple(
            replace(
                one,
                memory=max(one.memory, *(other.containers[container][at].memory for other in others)),
                cores=max(one.cores, *(other.containers[container][at].cores for other in others)),
            )
            if others
            else one
            for at, one in enumerate(slices)
        )
        for container, slices in first.containers.items()
    }
    return replace(first, containers=containers)


def grows(before: Allocation, after: Allocation) -> bool:
    """Whether any slice is larger afterwards, in memory or in time."""
    return covering(before, after) != before


def resized(ledger: Ledger, grant: Grant) -> Ledger:
    """The ledger with one grant's size changed, if it is at the revision before this one."""
    key = grant.allocation.id
    before = ledger.grants.get(key)
    if before is None or before.revision != grant.revision - 1:
        return ledger
    changed = replace(before, allocation=grant.allocation, revision=grant.revision)
    text = changed.to_text(over=ledger.data[key])
    return replace(ledger, data={**ledger.data, key: text}, grants={**ledger.grants, key: changed})


def missing(ledger: Ledger, grant: Grant, inventory: Inventory) -> str:
    """Why a grant cannot have this size instead of its present one, in words for its user; empty: it can."""
    key = grant.allocation.id
    before = ledger.grants.get(key)
    if before is None or before.revision != grant.revision - 1:
        return "its grant has changed meanwhile"
    if ledger.closed:
        return ledger.closed
    gpus = {gpu.uuid: gpu for gpu in inventory.gpus}
    has = before.allocation.totals()
    for uuid, more in _increase(before.allocation, grant.allocation).items():
        gpu, use = gpus.get(uuid), ledger.uses.get(uuid, Use())
        where = f"{uuid} on node {grant.allocation.node}"
        if gpu is None or not gpu.healthy or use.blocked:
            return f"{where} takes no more grants now"
        others = use.memory - has[uuid].memory.count
        free = gpu.capacity.count - gpu.foreign.count - others - has[uuid].memory.count
        if more.memory.count > max(0, free):
            return f"needs {more.memory.rounded()} more on {where}; {Memory(max(0, free)).rounded()} is free there"
        if more.cores > FULL_CORES - use.cores:
            return f"needs {more.cores}% more of the time of {where}; {FULL_CORES - use.cores}% is free"
    return ""


def marked(allocation: Allocation, revision: int) -> Allocation:
    """The allocation as it is written into a pod at a revision of its grant."""
    containers = {
        container: tuple(replace(one, revision=revision) for one in slices)
        for container, slices in allocation.containers.items()
    }
    return replace(allocation, containers=containers)


def current(grant: Grant, shown: Allocation) -> bool:
    """Whether what a pod shows was written at its grant's present revision."""
    return all(one.revision == grant.revision for slices in shown.containers.values() for one in slices)


def settled(grant: Grant, shown: Allocation, said: Iterable[Settled]) -> bool:
    """Whether the ledger may count what the pod's annotations show instead of what it holds.

    Args:
        grant: as the ledger has it.
        shown: the annotations' smaller size.
        said: the agent's word.
    """
    known = {(one.container, one.uuid): one for one in said if one.allocation == shown.id}
    held = grant.allocation
    return (
        held != shown
        and current(grant, shown)
        and all(
            (one.memory, one.cores) == (most.memory, most.cores) or _agrees(known.get((container, one.uuid)), one)
            for container, slices in shown.containers.items()
            for one, most in zip(slices, held.containers[container], strict=True)
        )
    )


def _agrees(known: Settled | None, one: Slice) -> bool:
    mine = (one.memory, one.cores, one.revision)
    return known is not None and (known.memory, known.cores, known.revision) == mine


def _increase(before: Allocation, after: Allocation) -> dict[str, Slice]:
    """By GPU, how much more is asked of it, where it is more of either."""
    old, found = before.totals(), {}
    for uuid, total in after.totals().items():
        memory = max(0, total.memory.count - old[uuid].memory.count)
        cores = max(0, total.cores - old[uuid].cores)
        if memory or cores:
            found[uuid] = Slice(uuid=uuid, memory=Memory(memory), cores=cores)
    return found


def _sized(one: Slice, container: str, annotations: Mapping[str, str], capacity: int) -> Slice:
    memory_key, cores_key = names.memory_annotation(container), names.cores_annotation(container)
    memory, cores = annotations.get(memory_key), annotations.get(cores_key)
    key = memory_key
    try:
        size = one.memory if memory is None else Memory(resolve(parse_memory_ask(memory), capacity))
        key = cores_key
        time = one.cores if cores is None else parse_cores(cores)
    except QuantityError as reason:
        where, value = f"annotation {key}", annotations[key]
        raise RequestError(where=where, value=value, problem=reason.problem, remedy=reason.remedy) from None
    if size == NO_MEMORY or size.count > capacity:
        raise RequestError(
            where=f"annotation {memory_key}",
            value=memory or "",
            problem=f"{one.uuid} has {Memory(capacity).rounded()}",
            remedy="write a size that it has, or delete the pod and create it for a larger GPU",
        )
    return replace(one, memory=size, cores=time)
