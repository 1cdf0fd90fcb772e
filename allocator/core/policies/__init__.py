"""Packing policies by name. Users of the library add their own with `register`."""

from collections.abc import Callable
from typing import Final

from allocator.api.errors import RequestError
from allocator.api.names import POLICY
from allocator.core.policies.base import Move, Policy, Rater, Rows
from allocator.core.policies.best_fit import BestFit
from allocator.core.policies.fgd import Fgd
from allocator.core.policies.foresight import Foresight
from allocator.core.policies.pack import Pack
from allocator.core.policies.spread import Spread

__all__ = ["BestFit", "Fgd", "Foresight", "Move", "Pack", "Policies", "Policy", "Rater", "Rows", "Spread"]

_BUILT_IN: Final[tuple[Callable[[], Policy | Rater], ...]] = (Foresight, BestFit, Fgd, Pack, Spread)


class Policies:
    """The policies that pods may ask for, and the one for those that do not ask."""

    def __init__(self, *policies: Policy | Rater, default: str | None = None) -> None:
        """Take these policies, or all of vramshare's own if none are given; the first one is the default."""
        chosen = policies or tuple(make() for make in _BUILT_IN)
        self._by_name: dict[str, Policy | Rater] = {policy.name: policy for policy in chosen}
        self._default = self._by_name[default or chosen[0].name]

    def register(self, policy: Policy | Rater) -> None:
        """Add a policy, or replace the one of its name."""
        self._by_name[policy.name] = policy

    def names(self) -> tuple[str, ...]:
        """Every name that may be asked for."""
        return tuple(sorted(self._by_name))

    def named(self, name: str | None) -> Policy | Rater:
        """The policy of this name; the default for None.

        Raises:
            RequestError: there is none.
        """
        if name is None:
            return self._default
        found = self._by_name.get(name)
        if found is None:
            raise RequestError(
                where=f"annotation {POLICY}",
                value=name,
                problem="no such packing policy",
                remedy=f"write one of {', '.join(self.names())}",
            )
        return found
