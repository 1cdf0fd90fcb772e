"""The fleet: every GPU node as the allocator sees it, kept up to date by differences.

The fleet is a cache of what the API server holds (nodes, inventories, ledgers, pods) plus the grants that were
decided on and are not written yet. It is changed by one task at a time and never awaits, so that a decision
always sees a consistent snapshot. Every change is noted in a log of touched nodes; whatever is remembered per
pod shape is brought up to date from there and costs what has changed, not what there is.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.core.demand import Shape, SliceAsk
from allocator.core.gates import Gate, GateKey, gate_key
from allocator.core.nodes import NodeInfo
from allocator.core.policies.base import Rater
from allocator.core.resources import NOTHING, Usage
from allocator.core.state import NodeState, PodOnNode
from allocator.core.table import Table
from allocator.core.views import View

_VIEW_BUDGET: Final = 64 * 1024**2
"""Bytes that views may hold together; the ones not asked for longest go."""
_FEWEST_VIEWS: Final = 64
_MOST_GATES: Final = 1024


class Fleet:
    """All GPU nodes, what is held of them and what is free."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeState] = {}
        self._where: dict[str, str] = {}
        self._views: OrderedDict[tuple[Rater, Shape], View] = OrderedDict()
        self._gates: OrderedDict[GateKey, Gate] = OrderedDict()
        self.table = Table()

    # --- reading ---------------------------------------------------------------------------------------------

    def nodes(self) -> Iterator[NodeState]:
        """Every node known, in the order of their names."""
        for name in sorted(self._nodes):
            yield self._nodes[name]

    def node(self, name: str) -> NodeState | None:
        """One node; None: nothing is known of it."""
        return self._nodes.get(name)

    @property
    def gpus(self) -> int:
        """How many GPUs there are."""
        return int(np.count_nonzero(self.table.capacity))

    def view(self, shape: Shape, rater: Rater) -> View:
        """How good each node is for a shape under a policy, as of now."""
        key = (rater, shape)
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = View(shape, rater, self._gate(gate_key(shape)))
            while len(self._views) > max(_FEWEST_VIEWS, _VIEW_BUDGET // (8 * self.table.size)):
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        view.refresh(self.table)
        return view

    def gate(self, shape: Shape) -> Gate:
        """Which nodes and GPUs a shape's own constraints let it use, as of now."""
        gate = self._gate(gate_key(shape))
        gate.refresh(self.table)
        return gate

    # --- what the cluster says -------------------------------------------------------------------------------

    def apply_node(self, info: NodeInfo) -> None:
        """A Node object appeared or changed."""
        state = self._state(info.name)
        if state.info != info:
            state.set_info(info)
            self._touch(state, static=True)

    def remove_node(self, name: str) -> None:
        """A Node object is gone. What was held there stays known until its ledger is gone as well."""
        if (state := self._nodes.get(name)) is not None:
            state.set_info(None)
            self._touch(state, static=True)

    def apply_inventory(self, inventory: Inventory) -> None:
        """An agent published what its node has."""
        state = self._state(inventory.node)
        if state.inventory != inventory:
            state.set_inventory(inventory)
            self._touch(state, static=True)

    def remove_inventory(self, node: str) -> None:
        """A node's inventory is gone: it takes nothing new."""
        if (state := self._nodes.get(node)) is not None:
            state.set_inventory(None)
            self._touch(state, static=True)

    def set_agent_live(self, node: str, live: bool) -> None:  # noqa: FBT001 - a word and its truth
        """Whether the node's agent has been heard lately. A silent one's node takes nothing new."""
        state = self._state(node)
        if state.live != live:
            state.live = live
            self._touch(state, static=True)

    def apply_grants(self, node: str, grants: Iterable[Grant]) -> None:
        """What a node's ledger shows now, all of it. Grants assumed and not shown yet stay assumed."""
        state = self._state(node)
        listed = list(grants)
        for grant in listed:
            if not state.holds(grant.allocation.id):
                self.observe(shape_of(grant))
        state.set_ledger(listed)
        self._touch(state)

    def apply_pod(self, pod: PodOnNode) -> None:
        """A pod that takes CPU and memory of a node: bound or pinned there, and not ended."""
        before = self._where.get(pod.key)
        if before is not None and before != pod.node:
            self.remove_pod(pod.key)
        state = self._state(pod.node)
        state.add_pod(pod)
        self._where[pod.key] = pod.node
        self._touch(state)

    def remove_pod(self, key: str) -> None:
        """A pod has ended or is gone: its CPU and memory are free. Its grant is a matter of its own."""
        node = self._where.pop(key, None)
        if node is not None and (state := self._nodes.get(node)) is not None:
            state.remove_pod(key)
            self._touch(state)

    # --- what was decided and is not written yet ---------------------------------------------------------------

    def observe(self, shape: Shape) -> None:
        """Count a pod in the mix from which policies learn.

        Grants are counted by themselves. Call this once for a pod that was refused or queued: policies that only
        saw who got in would think that nobody else wants to.
        """
        if shape.asks:
            self.table.mix.observe(shape)

    def assume(self, grant: Grant, usage: Usage = NOTHING, *, shape: Shape | None = None) -> None:
        """Count a grant from now on, before its ledger shows it.

        It counts until `forget`, or until the ledger has shown it and shows it no longer.

        Args:
            grant: the decision.
            usage: CPU and memory that its pod will take; counted until the pod itself is seen.
            shape: what the pod asked; None: taken from the grant.
        """
        state = self._state(grant.allocation.node)
        if not state.holds(grant.allocation.id):
            self.observe(shape or shape_of(grant, usage))
        state.assume(grant, usage)
        self._touch(state)

    def forget(self, node: str, grant_id: str) -> None:
        """The grant was not written after all, or was given back."""
        if (state := self._nodes.get(node)) is not None and state.forget(grant_id):
            self._touch(state)

    # --- what is kept free for pods that wait ------------------------------------------------------------------

    def hold(self, grant: Grant, usage: Usage = NOTHING) -> None:
        """Keep room free for a pod that waits, as if it had this grant; no pod is counted in the mix by that.

        More may be kept of a GPU than is free now: then nothing new fits there until it is.
        """
        state = self._nodes.get(grant.allocation.node)
        if state is not None:
            state.hold(grant, usage)
            self._touch(state)

    def unhold(self, grant: Grant) -> None:
        """Keep it no longer."""
        state = self._nodes.get(grant.allocation.node)
        if state is not None and state.unhold(grant.allocation.id):
            self._touch(state)

    # --- inside ----------------------------------------------------------------------------------------------

    def _state(self, name: str) -> NodeState:
        state = self._nodes.get(name)
        if state is None:
            state = self._nodes[name] = NodeState(name=name)
        return state

    def _gate(self, key: GateKey) -> Gate:
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = Gate(key)
            while len(self._gates) > _MOST_GATES:
                self._gates.popitem(last=False)
        self._gates.move_to_end(key)
        return gate

    def _touch(self, state: NodeState, *, static: bool = False) -> None:
        """Note a change; a node of which nothing is known any more goes."""
        if state.empty:
            self._nodes.pop(state.name, None)
            self.table.remove(state.name)
        else:
            self.table.update(state, static=static)


def shape_of(grant: Grant, usage: Usage = NOTHING) -> Shape:
    """What a pod must have asked to be granted this."""
    return Shape(
        asks=tuple(
            SliceAsk(gpus=len(slices), memory=slices[0].memory, cores=slices[0].cores)
            for slices in grant.allocation.containers.values()
            if slices
        ),
        usage=usage,
    )
