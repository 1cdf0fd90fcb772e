"""The fleet as arrays: one row per node, one column per GPU.

Why arrays: a decision looks at thousands of nodes, and a loop over Python objects costs a microsecond for each
thing that it touches. Here a change writes one row, and a question ("which rows have room?") is a handful of
array operations over just the rows that changed since the same question was asked last. The log of changed rows
is what makes that possible; see `allocator.core.views`.
"""

import numpy as np

from allocator.core.arrays import AnyArray, Bools, Ints
from allocator.core.mix import Mix
from allocator.core.state import NodeState

_FIRST_ROWS = 64
_FIRST_GPUS = 8
_WORD = 1 << 62
_MOST_STATES = 100_000
"""How many states of nodes are told apart before those of the past are forgotten."""
_LOG_LIMIT = 1 << 16
"""Where the log is cut. Who has not asked since then looks at all rows once."""


class Table:
    """What is free, by row. Rows of nodes that are gone are closed and used again.

    Attributes:
        mix: the kinds of pods seen.
        names: the rows' nodes; empty: none.
        cpu, memory, pods: what is free for pods.
        gpu_memory, gpu_cores: what is free of each GPU; -1 where no GPU is, or none that may be used.
        capacity: of each GPU, in bytes; 0 where there is none.
        milli: the scarcer of a GPU's free memory and free time, in thousandths of the GPU.
        models: number of each GPU's model in `model_numbers`; -1: none.
        open: whether anything new may come at all.
        taints: number of the node's set of taints in `taint_sets`.
        states: equal numbers mean equal nodes: same free CPU and memory, same GPUs up to their order.
        kinds: number of the row's kind of GPU (its first GPU's capacity and model).
        most_states: how many states are told apart before those of the past are forgotten.
        largest_cpu, largest_memory, largest_gpus: of any one node, GPUs in thousandths of a GPU.
    """

    def __init__(self) -> None:
        self.mix = Mix()
        self.names: list[str] = []
        self.rows: dict[str, int] = {}
        self.nodes: list[NodeState | None] = []
        self.model_numbers: dict[str, int] = {}
        self.taint_sets: dict[tuple[object, ...], int] = {}
        self.kind_numbers: dict[tuple[int, int], int] = {}
        self.log: list[int] = []
        self.static_log: list[int] = []
        self.generation = 0
        self.largest_cpu = self.largest_memory = self.largest_gpus = 1
        self._spare: list[int] = []
        self.most_states = _MOST_STATES
        self._state_numbers: dict[tuple[object, ...], int] = {}
        self._ranks: Ints | None = None
        self._allocate(_FIRST_ROWS, _FIRST_GPUS)

    @property
    def width(self) -> int:
        """GPUs of the widest node that there is room for."""
        return int(self.gpu_memory.shape[1])

    @property
    def size(self) -> int:
        """Rows that there is room for."""
        return int(self.cpu.shape[0])

    def update(self, node: NodeState, *, static: bool) -> None:
        """Write a node's row anew.

        Args:
            node: as it is now.
            static: whether more may have changed than what is free: labels, taints, GPUs, whether it is open.
        """
        row = self.rows.get(node.name)
        if row is None:
            row = self._add(node)
            static = True
        if static:
            self._write_static(row, node)
            self.static_log.append(row)
        self._write_free(row, node)
        self.log.append(row)
        if len(self.log) > _LOG_LIMIT:
            self.forget_views()

    def remove(self, name: str) -> None:
        """Close a node's row."""
        row = self.rows.pop(name, None)
        if row is None:
            return
        self.nodes[row] = None
        self.names[row] = ""
        self.open[row] = False
        self.states[row] = -1
        self.gpu_memory[row] = self.gpu_cores[row] = -1
        self.milli[row] = self.capacity[row] = 0
        self.models[row] = -1
        self._spare.append(row)
        self._ranks = None
        self.log.append(row)
        self.static_log.append(row)

    def forget_views(self) -> None:
        """Make everybody look at all rows again."""
        self.generation += 1
        self.log.clear()
        self.static_log.clear()

    def ranks(self) -> Ints:
        """Position of each row in the order of names, by which ties are broken."""
        if self._ranks is None:
            ranks = np.zeros(self.size, dtype=np.int64)
            for rank, name in enumerate(sorted(self.rows)):
                ranks[self.rows[name]] = rank
            self._ranks = ranks
        return self._ranks

    # --- inside ----------------------------------------------------------------------------------------------

    def _allocate(self, rows: int, width: int) -> None:
        def fresh(name: str, shape: tuple[int, ...], fill: int, kind: type) -> None:
            new: AnyArray = np.full(shape, fill, dtype=kind)
            old = getattr(self, name, None)
            if old is not None:
                new[tuple(slice(0, extent) for extent in old.shape)] = old
            setattr(self, name, new)

        for name in ("cpu", "memory", "pods", "taints", "kinds"):
            fresh(name, (rows,), 0, np.int64)
        fresh("states", (rows,), -1, np.int64)
        fresh("open", (rows,), 0, np.bool_)
        for name, fill in (("gpu_memory", -1), ("gpu_cores", -1), ("capacity", 0), ("milli", 0), ("models", -1)):
            fresh(name, (rows, width), fill, np.int64)

    cpu: Ints
    memory: Ints
    pods: Ints
    taints: Ints
    kinds: Ints
    states: Ints
    open: Bools
    gpu_memory: Ints
    gpu_cores: Ints
    capacity: Ints
    milli: Ints
    models: Ints

    def _add(self, node: NodeState) -> int:
        if self._spare:
            row = self._spare.pop()
            self.names[row] = node.name
            self.nodes[row] = node
        else:
            row = len(self.names)
            self.names.append(node.name)
            self.nodes.append(node)
            if row >= self.size:
                self._allocate(2 * self.size, self.width)
                self.forget_views()
        self.rows[node.name] = row
        self._ranks = None
        return row

    def _write_static(self, row: int, node: NodeState) -> None:
        if len(node.gpus) > self.width:
            self._allocate(self.size, 2 * max(self.width, len(node.gpus)))
            self.forget_views()
        info = node.info
        self.open[row] = info is not None and info.ready and node.obstacle() is None
        if info is not None:
            taints = (info.unschedulable, *(taint for taint in info.taints if taint.repels))
            self.taints[row] = self.taint_sets.setdefault(taints, len(self.taint_sets))
            self.largest_cpu = max(self.largest_cpu, info.allocatable.cpu)
            self.largest_memory = max(self.largest_memory, info.allocatable.memory)
        self.largest_gpus = max(self.largest_gpus, 1000 * len(node.gpus))
        self.capacity[row] = 0
        self.models[row] = -1
        for at, state in enumerate(node.gpus):
            self.capacity[row, at] = state.capacity
            self.models[row, at] = self.model_numbers.setdefault(state.model, len(self.model_numbers))
        first = (int(self.capacity[row, 0]), int(self.models[row, 0]))
        self.kinds[row] = self.kind_numbers.setdefault(first, len(self.kind_numbers))

    def _write_free(self, row: int, node: NodeState) -> None:
        self.cpu[row] = _word(node.free.cpu)
        self.memory[row] = _word(node.free.memory)
        self.pods[row] = node.free_pods
        count = len(node.gpus)
        usable = [state.gpu.healthy for state in node.gpus]
        milli = [state.milli for state in node.gpus]
        free_memory = [_word(state.free_memory) for state in node.gpus]
        self.gpu_memory[row, :count] = [free if ok else -1 for free, ok in zip(free_memory, usable, strict=True)]
        self.gpu_cores[row, :count] = [s.free_cores if ok else -1 for s, ok in zip(node.gpus, usable, strict=True)]
        self.gpu_memory[row, count:] = self.gpu_cores[row, count:] = -1
        self.milli[row, :count] = milli
        self.milli[row, count:] = 0
        if len(self._state_numbers) > self.most_states:
            self._renumber()
        self.states[row] = self._number(row, node)

    def _number(self, row: int, node: NodeState) -> int:
        """The number of a node's state."""
        milli = sorted(state.milli for state in node.gpus)
        key = (int(self.kinds[row]), node.free.cpu, node.free.memory, *milli)
        return self._state_numbers.setdefault(key, len(self._state_numbers))

    def _renumber(self) -> None:
        """Forget the states that no node is in any more, and with them everything remembered by number."""
        self._state_numbers.clear()
        for row, node in enumerate(self.nodes):
            if node is not None:
                self.states[row] = self._number(row, node)
        self.most_states = max(self.most_states, 2 * len(self._state_numbers))
        self.forget_views()


def _word(amount: int) -> int:
    """The amount, or the nearest that an array holds: pods may ask for more than there is anywhere."""
    return max(-_WORD, min(amount, _WORD))
