"""What is particular to a kind: defaults, preparation, validation. Looked up by storage name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.resources import Resource
from devcluster.apiserver.status import Cause

Json = dict[str, Any]


def _nothing(_obj: Json) -> None:
    """No defaults, no preparation."""


def _nothing_changes(_new: Json, _old: Json) -> None:
    """No preparation of an update."""


def _fine(_obj: Json) -> list[Cause]:
    """Nothing to object to."""
    return []


def _fine_update(_new: Json, _old: Json) -> list[Cause]:
    """Nothing to object to in a change."""
    return []


@dataclass(frozen=True, slots=True)
class Strategy:
    """One kind's rules. Functions that prepare or default change the object they get."""

    default: Callable[[Json], None] = _nothing
    prepare_create: Callable[[Json], None] = _nothing
    prepare_update: Callable[[Json, Json], None] = _nothing_changes
    validate: Callable[[Json], list[Cause]] = _fine
    validate_update: Callable[[Json, Json], list[Cause]] = _fine_update
    # Which names are valid: "subdomain", "label", "service" (RFC 1035) or "path" (anything without a slash).
    names: str = "subdomain"


_STRATEGIES: dict[str, Strategy] = {}
_PLAIN = Strategy()


def register(storage: str, strategy: Strategy) -> None:
    """Give a kind its rules."""
    _STRATEGIES[storage] = strategy


def strategy_of(resource: Resource) -> Strategy:
    """The kind's rules, or those of a kind without any."""
    return _STRATEGIES.get(resource.storage, _PLAIN)
