"""What is wrong with the GPUs that grants are on. Pure: the work that runs there is not touched, its owner is told."""

from collections.abc import Iterator, Mapping

from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.ledger import FULL_CORES, Ledger, Use


def troubles(ledger: Ledger, inventory: Inventory) -> Iterator[tuple[Grant, str]]:
    """Every grant of a pod that has appeared with something wrong under it, and what, in a sentence for its user."""
    gpus = {gpu.uuid: gpu for gpu in inventory.gpus}
    wrong = {uuid: _wrong(uuid, use, gpus, inventory.node) for uuid, use in ledger.uses.items()}
    if not any(wrong.values()):
        return
    for grant in ledger.grants.values():
        found = [wrong[uuid] for uuid in grant.allocation.uuids() if wrong[uuid]]
        if found and grant.uid and grant.releasing is None:
            yield grant, "; ".join(found)


def _wrong(uuid: str, use: Use, gpus: Mapping[str, Gpu], node: str) -> str:
    """What is wrong with one GPU; empty: nothing."""
    gpu = gpus.get(uuid)
    if gpu is None:
        return f"{uuid} is no longer on node {node}"
    if not gpu.healthy:
        return f"{uuid} is not healthy: {gpu.health}"
    if use.memory > gpu.capacity.count:
        return (
            f"{uuid} has {gpu.capacity.rounded()}, less than the {Memory(use.memory).rounded()} that is granted of it"
        )
    if use.cores > FULL_CORES:
        return f"{uuid} has grants for {use.cores}% of its time"
    return ""
