"""How long to wait before trying again: exponential, capped, with full jitter, and no clock of its own."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """A series of waits.

    Attributes:
        first: upper bound of the first wait, in seconds.
        factor: growth of the bound from one attempt to the next.
        most: where the bound stops growing, in seconds.
        least: share of the bound that is always waited, 0 to 1; the rest is random.
    """

    first: float = 0.2
    factor: float = 2.0
    most: float = 30.0
    least: float = 0.5

    def wait(self, attempt: int, random: Random) -> float:
        """Seconds to wait after the failure number `attempt`, counted from 0."""
        bound = min(self.most, self.first * self.factor ** min(attempt, 64))
        return bound * (self.least + (1 - self.least) * random.random())
