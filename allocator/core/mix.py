"""What kinds of pods this cluster gets: learnt from what it has seen, never configured.

Packing well means leaving over what the next pods can use, so a policy has to know what they will be like. Each
pod seen counts one; its count halves with every `HALF_LIFE` pods after it, so that last month's jobs do not rule
today's packing. Policies see the mix as it was at the last epoch: a new one begins when enough has been seen and
the mix has really moved, because everything that was computed from the old one is then computed anew.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator.api.request import Choice
from allocator.core.arrays import Floats
from allocator.core.demand import Shape, SliceAsk
from allocator.core.resources import Usage

HALF_LIFE: Final = 10_000
"""Pods after which an observation counts half: long enough to know rare kinds, and a few days of a busy cluster."""
_FIRST_LOOK: Final = 64
"""Pods before the first mix is believed."""
_GROWTH: Final = 1.25
"""How much more must have been seen before it is looked at again."""
_MOVED: Final = 0.05
"""Share of the mix that must have changed for a new epoch: below, sampling noise looks like change."""
_MOST_KINDS: Final = 256


@dataclass(frozen=True, slots=True)
class Kind:
    """Pods that are alike for packing. A pod of several asking containers counts as a part of each of them."""

    ask: SliceAsk
    usage: Usage
    models: Choice


@dataclass(frozen=True, slots=True)
class Epoch:
    """The mix as policies see it: kinds, the most frequent first, and their shares, which add up to 1."""

    number: int
    kinds: tuple[Kind, ...]
    shares: Floats


class Mix:
    """Counts kinds of pods."""

    def __init__(self) -> None:
        self._weights: dict[Kind, float] = {}
        self._unit = 1.0
        self._seen = 0
        self._next = _FIRST_LOOK
        self.epoch = Epoch(number=0, kinds=(), shares=np.zeros(0))

    def observe(self, shape: Shape) -> None:
        """Count a pod."""
        asks = shape.asks
        for ask in asks:
            usage = Usage(shape.usage.cpu // len(asks), shape.usage.memory // len(asks))
            kind = Kind(ask=ask, usage=usage, models=shape.models)
            self._weights[kind] = self._weights.get(kind, 0.0) + self._unit / len(asks)
        self._seen += 1
        self._unit *= 2 ** (1 / HALF_LIFE)
        if self._seen >= self._next:
            self._look()

    def _look(self) -> None:
        """Begin a new epoch if the mix has moved."""
        self._next = self._seen + max(_FIRST_LOOK, int(min(self._seen, HALF_LIFE) * (_GROWTH - 1)))
        ranked = sorted(self._weights.items(), key=lambda item: -item[1])[:_MOST_KINDS]
        total = sum(weight for _, weight in ranked)
        self._weights = {kind: weight / self._unit for kind, weight in ranked}
        self._unit = 1.0
        shares = {kind: weight / total for kind, weight in ranked}
        before = dict(zip(self.epoch.kinds, self.epoch.shares.tolist(), strict=True))
        moved = sum(abs(shares.get(kind, 0.0) - before.get(kind, 0.0)) for kind in shares.keys() | before.keys()) / 2
        if moved > _MOVED:
            self.epoch = Epoch(
                number=self.epoch.number + 1, kinds=tuple(shares), shares=np.asarray(list(shares.values()))
            )
