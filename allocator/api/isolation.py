"""What an agent found out about isolation: the inventory's keys `isolation`, `evict` and `released`, a line per fact.

These are reports, not capacity. A line that cannot be read, or whose state only a newer version knows, is passed
over and takes nothing else of the inventory with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NOBODY: Final = "-"
"""Stands where a name is not known."""


class Isolation(StrEnum):
    """How far a container's isolation is proven.

    ISOLATED: every GPU process of it runs the interposer, and holds no more than the slice.
    UNVERIFIED: no breach was seen, but the proof could not be completed.
    VIOLATED: a process uses a GPU past the wall, or without a grant.
    """

    ISOLATED = "isolated"
    UNVERIFIED = "unverified"
    VIOLATED = "violated"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A container that is not isolated.

    Attributes:
        state: UNVERIFIED or VIOLATED.
        pod: `namespace/name`.
        uid: the pod's.
        container: its name; `-` where it could not be found out.
        reason: one sentence for a person.
    """

    state: Isolation
    pod: str
    uid: str
    container: str
    reason: str = ""

    def line(self) -> str:
        """As it stands in the inventory; white space in a name cannot forge a column."""
        return (
            f"{self.state} {_word(self.pod)} {_word(self.uid)} {_word(self.container)} {_sentence(self.reason)}".strip()
        )


@dataclass(frozen=True, slots=True, order=True)
class Eviction:
    """A pod whose eviction an agent asks of the leader.

    Attributes:
        uid: the pod's.
        pod: `namespace/name`.
        reason: one sentence for a person.
    """

    uid: str
    pod: str
    reason: str = ""

    def line(self) -> str:
        """As it stands in the inventory."""
        return f"{_word(self.uid)} {_word(self.pod)} {_sentence(self.reason)}".strip()


def findings_of(text: str) -> tuple[Finding, ...]:
    """Read the key `isolation`, in its order."""
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=4)
        if len(words) >= 4 and words[0] in (Isolation.UNVERIFIED, Isolation.VIOLATED):
            state, pod, uid, container = words[:4]
            reason = words[4] if len(words) == 5 else ""
            found.append(Finding(Isolation(state), pod=pod, uid=uid, container=container, reason=_sentence(reason)))
    return tuple(found)


def evictions_of(text: str) -> tuple[Eviction, ...]:
    """Read the key `evict`, in its order."""
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=2)
        if len(words) >= 2:
            reason = words[2] if len(words) == 3 else ""
            found.append(Eviction(uid=words[0], pod=words[1], reason=_sentence(reason)))
    return tuple(found)


def released_of(text: str) -> frozenset[str]:
    """Read the key `released`: one allocation id per line."""
    return frozenset(line.strip() for line in text.splitlines() if len(line.split()) == 1)


def text_of(lines: Iterable[str]) -> str:
    """Lines as a ConfigMap's value."""
    return "".join(f"{line}\n" for line in lines)


def _word(value: str) -> str:
    return "".join(value.split()) or NOBODY


def _sentence(value: str) -> str:
    return " ".join(value.split())
