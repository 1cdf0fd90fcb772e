"""What was decided about a pod, and what its mutation has to tell."""

from dataclasses import dataclass, field
from typing import Final

MOST_NOTES: Final = 20
"""Of one pod. The API server drops warnings beyond some 4,000 characters, and a pod may give cause to thousands."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Nothing fits now: the pod waits behind the scheduling gate.

    Attributes:
        reason: why, in one sentence.
    """

    reason: str


@dataclass(slots=True)
class Notes:
    """Warnings for who sent the pod, in the order in which the mutation came upon them: none twice, not too many."""

    texts: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether no more are remembered."""
        return len(self.texts) >= MOST_NOTES

    def add(self, text: str) -> None:
        """Remember one; what stands there already is passed over."""
        if not self.full and text not in self.texts:
            self.texts.append(text)
