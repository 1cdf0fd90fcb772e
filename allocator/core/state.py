"""One node's bookkeeping: what it has, what is held, what is free.

Every change is applied as a difference to what it touches; nothing is summed up anew but on a new inventory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from allocator.api.allocation import Allocation
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.core.nodes import NodeInfo
from allocator.core.resources import NOTHING, Usage

FULL_TIME = 100
"""GPU time that grants on one GPU may add up to, in percent."""


@dataclass(frozen=True, slots=True)
class PodOnNode:
    """A pod that takes of a node's CPU and memory.

    Attributes:
        key: names it among all pods; its UID.
        node: where it runs, or is pinned to.
        usage: what it takes.
        allocation_id: its grant; from now on the pod's own usage counts, not the grant's. Empty: none.
    """

    key: str
    node: str
    usage: Usage
    allocation_id: str = ""


@dataclass(slots=True)
class GpuState:
    """One GPU: what it is and what is free. Free amounts below zero are overbooked and take nothing.

    Attributes:
        gpu: the inventory's word.
        capacity: bytes that grants may add up to.
        free_memory: bytes; others' use is taken off.
        free_cores: percent of its time.
        model, uuid: folded, for comparing.
        milli: the scarcer of its free memory and its free time, in thousandths of the GPU; 0 if it may not be used.
    """

    gpu: Gpu
    capacity: int
    free_memory: int
    free_cores: int = FULL_TIME
    model: str = ""
    uuid: str = ""
    milli: int = 0

    @classmethod
    def of(cls, gpu: Gpu) -> "GpuState":
        """A GPU that nobody holds anything of."""
        capacity = gpu.capacity.count
        state = cls(
            gpu=gpu,
            capacity=capacity,
            free_memory=capacity - gpu.foreign.count,
            model=gpu.model.casefold(),
            uuid=gpu.uuid.casefold(),
        )
        state.take(0, 0)
        return state

    def take(self, memory: int, cores: int) -> None:
        """Take so many bytes and so much time; negative amounts give back."""
        self.free_memory -= memory
        self.free_cores -= cores
        if self.gpu.healthy and self.capacity:
            self.milli = max(0, min(self.free_memory * 1000 // self.capacity, self.free_cores * 10))


@dataclass(slots=True)
class NodeState:
    """One node. Owned by the fleet; others read only.

    Attributes:
        name: the node's name.
        info: the Node object; None: not seen.
        inventory: its agent's word; None: not seen.
        live: whether its agent has been heard lately.
        gpus: its GPUs, in the inventory's order.
        free: CPU and memory for pods.
        free_pods: how many more pods it may run.
        ledger: grants that its ledger shows, by id.
        assumed: grants decided on and not yet seen in the ledger, by id.
        held: what is kept free for pods that wait: as grants with ids of their own, and what the pods will take.
    """

    name: str
    info: NodeInfo | None = None
    inventory: Inventory | None = None
    live: bool = True
    gpus: list[GpuState] = field(default_factory=list)
    free: Usage = NOTHING
    free_pods: int = 0
    ledger: dict[str, Grant] = field(default_factory=dict)
    assumed: dict[str, Grant] = field(default_factory=dict)
    held: dict[str, tuple[Grant, Usage]] = field(default_factory=dict)
    _pods: dict[str, PodOnNode] = field(default_factory=dict)
    _expected: dict[str, Usage] = field(default_factory=dict)
    _bound: dict[str, str] = field(default_factory=dict)

    def obstacle(self) -> str | None:
        """Why nothing new may go to the node at all, as a clause after its name; None: nothing in the way."""
        inventory = self.inventory
        if inventory is None:
            return "has no inventory from an agent"
        if not inventory.usable:
            return inventory.reason or "has no way to give a container a GPU"
        return None if self.live else "has an agent that has gone silent"

    @property
    def empty(self) -> bool:
        """Whether nothing is known of it any more."""
        return self.info is None and self.inventory is None and not (self.ledger or self.assumed or self._pods)

    def holds(self, grant_id: str) -> bool:
        """Whether a grant counts here."""
        return grant_id in self.ledger or grant_id in self.assumed

    def set_info(self, info: NodeInfo | None) -> None:
        """Take over the Node object."""
        self.info = info
        self._count_free()

    def set_inventory(self, inventory: Inventory | None) -> None:
        """Take over an inventory, and book anew what is held."""
        self.inventory = inventory
        self.gpus = [GpuState.of(gpu) for gpu in (inventory.gpus if inventory else ())]
        kept = (grant for grant, _ in self.held.values())
        for grant in [*self.ledger.values(), *self.assumed.values(), *kept]:
            self._book(grant.allocation, sign=1)

    def set_ledger(self, grants: Iterable[Grant]) -> None:
        """Take over what the ledger shows. An assumed grant that it shows is no longer assumed."""
        shown = {grant.allocation.id: grant for grant in grants}
        for grant_id, grant in list(self.ledger.items()):
            if (new := shown.get(grant_id)) is None or new.allocation != grant.allocation:
                self._drop(self.ledger, grant_id)
                if new is None:
                    self._forget_usage(grant_id)
        for grant_id, grant in shown.items():
            if grant_id in self.assumed:
                self._drop(self.assumed, grant_id)
            if grant_id not in self.ledger:
                self._book(grant.allocation, sign=1)
            self.ledger[grant_id] = grant

    def assume(self, grant: Grant, usage: Usage) -> None:
        """Hold a grant from now on, with the CPU and memory that its pod will take."""
        grant_id = grant.allocation.id
        if self.holds(grant_id):
            return
        self.assumed[grant_id] = grant
        self._book(grant.allocation, sign=1)
        if grant_id not in self._bound:
            self._expected[grant_id] = usage
            self._take(usage, pods=1, sign=1)

    def forget(self, grant_id: str) -> bool:
        """Let a grant go that was assumed or that the ledger showed. False: there is none."""
        book = self.assumed if grant_id in self.assumed else self.ledger
        if grant_id not in book:
            return False
        self._drop(book, grant_id)
        self._forget_usage(grant_id)
        return True

    def hold(self, grant: Grant, usage: Usage) -> None:
        """Keep room free, with the CPU and memory that goes with it. More than is free may be kept."""
        if grant.allocation.id not in self.held:
            self.held[grant.allocation.id] = (grant, usage)
            self._book(grant.allocation, sign=1)
            self._take(usage, pods=1, sign=1)

    def unhold(self, hold_id: str) -> bool:
        """Keep it no longer. False: it was not kept."""
        found = self.held.pop(hold_id, None)
        if found is None:
            return False
        self._book(found[0].allocation, sign=-1)
        self._take(found[1], pods=1, sign=-1)
        return True

    def without(self, grant_ids: Iterable[str]) -> "NodeState":
        """What the node would be without these grants and their pods. A value to ask, of no further use."""
        left = NodeState(name=self.name, info=self.info, inventory=self.inventory, live=self.live)
        left.gpus = [replace(state) for state in self.gpus]
        left.free, left.free_pods = self.free, self.free_pods
        for grant_id in grant_ids:
            grant = self.ledger.get(grant_id) or self.assumed.get(grant_id)
            if grant is None:
                continue
            left._book(grant.allocation, sign=-1)
            pod = self._pods.get(self._bound.get(grant_id, ""))
            usage = self._expected.get(grant_id) if pod is None else pod.usage
            if usage is not None:
                left._take(usage, pods=1, sign=-1)
        return left

    def add_pod(self, pod: PodOnNode) -> None:
        """Count a pod. If it carries a grant, the pod counts in the grant's place."""
        self.remove_pod(pod.key)
        self._pods[pod.key] = pod
        self._take(pod.usage, pods=1, sign=1)
        if pod.allocation_id:
            self._forget_usage(pod.allocation_id)
            self._bound[pod.allocation_id] = pod.key

    def remove_pod(self, key: str) -> None:
        """Count a pod no longer. Its grant stays until it is given back."""
        pod = self._pods.pop(key, None)
        if pod is not None:
            self._take(pod.usage, pods=1, sign=-1)
            self._bound.pop(pod.allocation_id, None)

    def pods(self) -> tuple[PodOnNode, ...]:
        """The pods counted here."""
        return tuple(self._pods.values())

    def _drop(self, book: dict[str, Grant], grant_id: str) -> None:
        self._book(book.pop(grant_id).allocation, sign=-1)

    def _forget_usage(self, grant_id: str) -> None:
        usage = self._expected.pop(grant_id, None)
        if usage is not None:
            self._take(usage, pods=1, sign=-1)

    def _book(self, allocation: Allocation, *, sign: int) -> None:
        """Take an allocation from the GPUs (sign 1) or give it back (-1). A GPU that is gone is passed over."""
        by_uuid = {state.gpu.uuid: state for state in self.gpus}
        for slices in allocation.containers.values():
            for one in slices:
                if (state := by_uuid.get(one.uuid)) is not None:
                    state.take(sign * one.memory.count, sign * one.cores)

    def _take(self, usage: Usage, *, pods: int, sign: int) -> None:
        self.free = Usage(self.free.cpu - sign * usage.cpu, self.free.memory - sign * usage.memory)
        self.free_pods -= sign * pods

    def _count_free(self) -> None:
        """Add up CPU, memory and pods anew."""
        self.free = self.info.allocatable if self.info else NOTHING
        self.free_pods = self.info.pods if self.info else 0
        kept = (usage for _, usage in self.held.values())
        for usage in [*(pod.usage for pod in self._pods.values()), *self._expected.values(), *kept]:
            self._take(usage, pods=1, sign=1)
