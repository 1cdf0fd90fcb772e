"""What a check says."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Json = Mapping[str, Any]


class Level(StrEnum):
    """How bad it is.

    OK: as it should be.
    WARNING: works, but not as it should, or could not be looked at.
    BROKEN: GPU pods are refused, wait for ever, or run without their wall.
    """

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: the check's name.
        level: how bad it is.
        message: what is so, in one sentence.
        remedy: the command that mends it, or what to do; empty where nothing has to be done.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {"check": self.check, "level": self.level.value, "message": self.message, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, before it is known which check says it."""

    message: str
    remedy: str = ""
    level: Level = Level.BROKEN


def warning(message: str, remedy: str = "") -> Trouble:
    """Something that should be otherwise."""
    return Trouble(message, remedy, Level.WARNING)


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Attributes:
        name: for people and scripts.
        needs: what it looks at, by the names of `Cluster`'s fields.
        look: finds trouble.
        fine: what to say where there is none.
    """

    name: str
    needs: tuple[str, ...]
    look: Callable[[Any], Iterable[Trouble]]
    fine: Callable[[Any], str]


SHOWN: Final = 5


def some(found: Iterable[str]) -> str:
    """The first few of many names."""
    names = list(found)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def name_of(item: Json) -> str:
    """An object's name."""
    return str((item.get("metadata") or {}).get("name", ""))


def namespace_of(item: Json) -> str:
    """An object's namespace."""
    return str((item.get("metadata") or {}).get("namespace", ""))


def labels_of(item: Json) -> Mapping[str, str]:
    """An object's labels."""
    return (item.get("metadata") or {}).get("labels") or {}


def annotations_of(item: Json) -> Mapping[str, str]:
    """An object's annotations."""
    return (item.get("metadata") or {}).get("annotations") or {}
