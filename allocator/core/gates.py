"""Which rows a pod's own constraints let it into, remembered per set of constraints.

Constraints are looked at only where a node's static side changed (labels, taints, GPUs): never because
something was granted. Most pods have none and share one gate.
"""

import numpy as np

from allocator.api.request import Choice
from allocator.core.arrays import Bools
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

    def _write(self, table: Table, rows: "range | list[int]") -> None:
        for row in rows:
            self.nodes[row] = bool(table.open[row]) and self._admits(table, row)
        chosen = np.asarray(rows, dtype=np.int64)
        self.gpus[chosen] = self._allowed_models(table)[table.models[chosen]] & (table.capacity[chosen] > 0)
        if self._uuids.include or self._uuids.exclude:
            self._choose(table, chosen)

    def _admits(self, table: Table, row: int) -> bool:
        node = table.nodes[row]
        if node is None or node.info is None:
            return False
        taints = int(table.taints[row])
        tolerated = self._by_taints.get(taints)
        if tolerated is None:
            tolerated = self._by_taints[taints] = self._filter.repelled(node.info) is None
        return tolerated and (not self._filter.particular or self._filter.unwanted(node.info) is None)

    def _allowed_models(self, table: Table) -> Bools:
        """By number of the model; the last entry is for number -1, no GPU."""
        allowed = np.zeros(len(table.model_numbers) + 1, dtype=np.bool_)
        for model, number in table.model_numbers.items():
            allowed[number] = self._models.allows(model)
        return allowed

    def _choose(self, table: Table, rows: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> None:
        for row in rows.tolist():
            node = table.nodes[row]
            for at, state in enumerate(node.gpus if node else ()):
                self.gpus[row, at] &= self._uuids.allows(state.uuid)
