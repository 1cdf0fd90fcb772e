"""What was decided about a pod, and what its mutation has to tell."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Queued:
    """Nothing fits now: the pod waits behind the scheduling gate.

    Attributes:
        reason: why, in one sentence.
    """

    reason: str


@dataclass(slots=True)
class Notes:
    """Warnings for whoever sent the pod, in the order in which the mutation came upon them; none twice."""

    texts: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Remember one; what stands there already is passed over."""
        if text not in self.texts:
            self.texts.append(text)
