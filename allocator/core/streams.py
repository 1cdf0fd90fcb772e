"""What stays stranded on a node once pods like the usual ones have filled it.

A leftover is worth what later pods can make of it, and that no formula over single kinds of pods tells: 340
thousandths beside a 660 pod are good because a 320 comes often, or because two 160s do. So it is tried out: each
of `STREAMS` sequences of pods, drawn once from the mix, fills the node by best fit, and what is left at the end
is counted. The same streams are used for every node and every option, so that differences between two states
come from the states and not from luck.

Only pods that share a GPU are drawn. Pods that take whole GPUs leave no leftover and cannot use one; in a stream
they would only hide the leftovers behind space that in truth is theirs.

All states asked for are simulated at once, one array operation per step of all their streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator.core.arrays import AnyArray, Floats, Ints
from allocator.core.demand import slice_milli
from allocator.core.mix import Epoch

STREAMS: Final = 64
"""Sequences per mix. With 32 results vary between mixes by more than policies differ, 128 change nothing."""
LENGTH: Final = 25
"""Pods per sequence: enough to fill a node of eight GPUs with slices of a third."""
_MIB: Final = 1024**2
_TAG: Final = 32
"""Free capacity and the GPU's number share one unsigned 16-bit integer: `free * 32 + number`. Of nodes with more
GPUs the 32 emptiest count."""
_NEGATIVE: Final = np.uint16(1 << 15)
"""From here on an unsigned difference was one below zero."""


@dataclass(frozen=True, slots=True)
class State:
    """A node, as far as filling it matters: free CPU, free memory in MiB, and its GPUs' free capacity, sorted."""

    cpu: int
    memory: int
    milli: tuple[int, ...]


class Streams:
    """The sequences of pods, as seen from one kind of GPU."""

    def __init__(self, epoch: Epoch, *, capacity: int, model: str, draws: Floats) -> None:
        """Draw the sequences.

        Args:
            epoch: the mix.
            capacity: of the GPU in bytes.
            model: of the GPU.
            draws: `STREAMS` by `LENGTH` numbers from 0 to 1, the same at every call.
        """
        needs = np.asarray([slice_milli(kind.ask, capacity) for kind in epoch.kinds], dtype=np.int64)
        shared = np.asarray(
            [
                kind.ask.gpus == 1 and kind.models.allows(model) and 0 < need < 1000
                for kind, need in zip(epoch.kinds, needs.tolist(), strict=True)
            ],
            dtype=np.bool_,
        )
        self._empty = not shared.any()
        if self._empty:
            return
        edges = np.cumsum(np.where(shared, epoch.shares, 0.0))
        drawn = np.searchsorted(edges, draws * edges[-1], side="right").clip(max=len(epoch.kinds) - 1).T
        limit = 2**31 - 1
        self._needs: AnyArray = (needs[drawn] * _TAG).astype(np.uint16)
        usage = [(min(limit, kind.usage.cpu), min(limit, kind.usage.memory // _MIB)) for kind in epoch.kinds]
        self._takes: Ints = np.asarray(usage, dtype=np.int64)[drawn].transpose(0, 2, 1)[:, :, None, :]

    def stranded(self, states: Sequence[State]) -> Floats:
        """For each state what is left of its GPUs in the end, in thousandths of a GPU, mean over the sequences."""
        if self._empty or not states:
            return np.zeros(len(states))
        width = min(_TAG, max(len(state.milli) for state in states))
        free = np.zeros((width, len(states), 1), dtype=np.uint16)
        for at, state in enumerate(states):
            milli = state.milli[-_TAG:]
            free[: len(milli), at, 0] = milli
        tagged = free * np.uint16(_TAG) + np.arange(width, dtype=np.uint16)[:, None, None]
        gpus = np.repeat(tagged, STREAMS, axis=2)
        node = np.asarray([[state.cpu for state in states], [state.memory for state in states]], dtype=np.int64)
        node = np.repeat(node[:, :, None], STREAMS, axis=2)
        for needs, takes in zip(self._needs, self._takes, strict=True):
            _arrive(gpus, node, needs=needs, takes=takes)
        left: Floats = (gpus >> 5).sum(axis=0).mean(axis=1)
        return left


def _arrive(gpus: AnyArray, node: Ints, *, needs: AnyArray, takes: Ints) -> None:
    """One pod per stream arrives at every state: it takes the fullest GPU with room, if the node has room too.

    What would be left of each GPU is computed without a sign: where there is no room it comes out huge, so that
    the least is the fullest GPU with room.
    """
    left = gpus - needs
    least = np.minimum.reduce(left, axis=0)
    goes = (node >= takes).all(axis=0)
    goes &= least < _NEGATIVE
    gpus -= ((left == least) & goes) * needs
    node -= goes * takes


def draws(seed: int) -> Floats:
    """The numbers behind the sequences. A constant of the policy, not an event: the same seed, the same numbers."""
    return np.random.default_rng(seed).random((STREAMS, LENGTH))
