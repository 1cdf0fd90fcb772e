"""What can go wrong, sorted by who has to act: the user, the cluster, or us.

Every message is one sentence or two that can be shown to a person as they stand.
"""

from dataclasses import dataclass, field


class VramshareError(Exception):
    """Base of every error that vramshare raises on purpose."""


class MisuseError(VramshareError):
    """A command was called wrongly, or its settings cannot be: nothing was tried, and trying again is of no use."""


class RequestError(VramshareError):
    """The user asked in a way that cannot be understood or granted; nothing was changed.

    Attributes:
        where: the field as the user wrote it, such as `annotation vramshare.io/memory`.
        value: what stands there, shortened if very long.
        problem: what is wrong with it.
        remedy: what to write instead.
        container: the container concerned, or None for the whole pod.
    """

    _SHOWN = 80

    def __init__(self, *, where: str, value: object, problem: str, remedy: str, container: str | None = None) -> None:
        text = str(value)
        self.where = where
        self.value = text if len(text) <= self._SHOWN else f"{text[: self._SHOWN]}… ({len(text)} characters)"
        self.problem = problem
        self.remedy = remedy
        self.container = container
        subject = f"container {container!r}: " if container else ""
        super().__init__(f"{subject}{where} is {self.value!r}: {problem}; {remedy}")


class FormatError(VramshareError):
    """An object or file of our own cannot be read: somebody else wrote into it, or a newer version did."""


class NotReadyError(VramshareError):
    """The allocator has not seen the whole cluster yet, or has lost sight of it; try again shortly."""


class ConflictError(VramshareError):
    """Other replicas kept changing the same node for the whole of our patience; try again shortly."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why some nodes cannot take a request now.

    Attributes:
        reason: one clause that reads on after a node's name, such as `best GPU has 6Gi free`.
        nodes: the nodes it holds for.
    """

    reason: str
    nodes: tuple[str, ...] = field(default=())


class NoCapacityError(VramshareError):
    """Nothing fits now. May fit later.

    Attributes:
        summary: one sentence: what is needed and what is the best there is.
        shortfalls: reasons grouped over the nodes, most nodes first.
    """

    def __init__(self, summary: str, shortfalls: tuple[Shortfall, ...] = ()) -> None:
        self.summary = summary
        self.shortfalls = shortfalls
        super().__init__(summary)


class MustWaitError(NoCapacityError):
    """There may be room, but the pod has to pass the queue, where others may come first; `summary` says why."""


class OverQuotaError(VramshareError):
    """The namespace's quota does not allow it, and the cluster's settings say that such a pod is denied."""
