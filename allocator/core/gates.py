"""Which rows a pod's own constraints let it into, remembered per set of constraints.

Constraints are looked at only where a node's static side changed (labels, taints, GPUs): never because
something was granted. Most pods have none and share one gate.
"""

from collections.abc import Iterable

import numpy as np

from allocator.api.request import Choice
from allocator.core.arrays import Bools, Ints
from allocator.core.demand import Shape
from allocator.core.filters import NodeFilter
from allocator.core.table import Table

GateKey = tuple[NodeFilter, Choice, Choice]


def gate_key(shape: Shape) -> GateKey:
    """Shapes with equal keys may go to the same places."""
    return (shape.filter, shape.models, shape.uuids)


class Gate:
    """For each row whether the pod may go there, and for each of its GPUs whether it may use it."""

    def __init__(self, key: GateKey) -> None:
        self._filter, self._models, self._uuids = key
        self._by_taints: dict[int, bool] = {}
        self._generation = -1
        self._seen = 0
        self.nodes: Bools = np.zeros(0, dtype=np.bool_)
        self.gpus: Bools = np.zeros((0, 0), dtype=np.bool_)

    def refresh(self, table: Table) -> bool:
        """Follow the table. True: something static changed since the last time."""
        if self._generation != table.generation:
            self.nodes = np.zeros(table.size, dtype=np.bool_)
            self.gpus = np.zeros((table.size, table.width), dtype=np.bool_)
            self._write(table, range(len(table.nodes)))
        elif self._seen < len(table.static_log):
            self._write(table, sorted(set(table.static_log[self._seen :])))
        else:
            return False
        self._generation = table.generation
        self._seen = len(table.static_log)
        return True

    def _write(self, table: Table, changed: Iterable[int]) -> None:
        rows: Ints = np.asarray(list(changed), dtype=np.int64)
        self.nodes[rows] = table.open[rows] & self._tolerated(table, rows)[table.taints[rows]]
        if self._filter.particular:
            for row in rows[self.nodes[rows]].tolist():
                node = table.nodes[row]
                self.nodes[row] = node is not None and node.info is not None and not self._filter.unwanted(node.info)
        self.gpus[rows] = self._allowed_models(table)[table.models[rows]] & (table.capacity[rows] > 0)
        if self._uuids.include or self._uuids.exclude:
            self._choose(table, rows)

    def _tolerated(self, table: Table, rows: Ints) -> Bools:
        """By number of the set of taints; each set is looked at once, on the first open node that has it."""
        usable = rows[table.open[rows]]
        _, first = np.unique(table.taints[usable], return_index=True)
        for row in usable[first].tolist():
            number = int(table.taints[row])
            node = table.nodes[row]
            if number not in self._by_taints and node is not None and node.info is not None:
                self._by_taints[number] = self._filter.repelled(node.info) is None
        result = np.zeros(len(table.taint_sets) + 1, dtype=np.bool_)
        for number, tolerated in self._by_taints.items():
            result[number] = tolerated
        return result

    def _allowed_models(self, table: Table) -> Bools:
        """By number of the model; the last entry is for number -1, no GPU."""
        allowed = np.zeros(len(table.model_numbers) + 1, dtype=np.bool_)
        for model, number in table.model_numbers.items():
            allowed[number] = self._models.allows(model)
        return allowed

    def _choose(self, table: Table, rows: Ints) -> None:
        for row in rows.tolist():
            node = table.nodes[row]
            for at, state in enumerate(node.gpus if node else ()):
                self.gpus[row, at] &= self._uuids.allows(state.uuid)
