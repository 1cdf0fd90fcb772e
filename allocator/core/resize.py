"""A running pod's slices change size. Pure; the order of things is what keeps it safe.

To grow: first the ledger, by a compare-and-swap that checks the room, then the pod's annotations, from which the
container learns it. To shrink: first the annotations; the ledger goes on counting the old size until the node's agent
says that the container knows the new one and uses no more, for memory that is still held is promised to nobody. So
the ledger is never less than what a container may use.

Every change of size raises the grant's revision, a growth also where the ledger holds as much already because a
shrink is under way. Whoever decides on an older revision is refused.
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
    current = ledger.grants.get(key)
    if current is None or current.revision != grant.revision - 1:
        return ledger
    changed = replace(current, allocation=grant.allocation, revision=grant.revision)
    text = changed.to_text(over=ledger.data[key])
    return replace(ledger, data={**ledger.data, key: text}, grants={**ledger.grants, key: changed})


def missing(ledger: Ledger, grant: Grant, inventory: Inventory) -> str:
    """Why a grant cannot have this size instead of its present one, in words for its user; empty: it can."""
    key = grant.allocation.id
    current = ledger.grants.get(key)
    if current is None or current.revision != grant.revision - 1:
        return "its grant has changed meanwhile"
    if ledger.closed:
        return ledger.closed
    gpus = {gpu.uuid: gpu for gpu in inventory.gpus}
    has = current.allocation.totals()
    for uuid, more in _increase(current.allocation, grant.allocation).items():
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


def settled(held: Allocation, shown: Allocation, said: Iterable[Settled]) -> bool:
    """Whether the ledger may count what the pod's annotations show instead of what it holds.

    Args:
        held: what the ledger counts.
        shown: the annotations' smaller size.
        said: the agent's word.
    """
    known = {(one.container, one.uuid): one for one in said if one.allocation == shown.id}
    return held != shown and all(
        (one.memory, one.cores) == (most.memory, most.cores) or _agrees(known.get((container, one.uuid)), one)
        for container, slices in shown.containers.items()
        for one, most in zip(slices, held.containers[container], strict=True)
    )


def _agrees(known: Settled | None, one: Slice) -> bool:
    return known is not None and (known.memory, known.cores) == (one.memory, one.cores)


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
