"""Packing policies by name. Users of the library add their own with `register`."""

from allocator.api.errors import RequestError
from allocator.api.names import POLICY
from allocator.core.policies.base import Move, Policy
from allocator.core.policies.best_fit import BestFit

__all__ = ["BestFit", "Move", "Policies", "Policy"]


class Policies:
    """The policies that pods may ask for, and the one for those that do not ask."""

    def __init__(self, *policies: Policy, default: str = BestFit.name) -> None:
        self._by_name: dict[str, Policy] = {policy.name: policy for policy in policies or (BestFit(),)}
        self._default = self._by_name[default]

    def register(self, policy: Policy) -> None:
        """Add a policy, or replace the one of its name."""
        self._by_name[policy.name] = policy

    def names(self) -> tuple[str, ...]:
        """Every name that may be asked for."""
        return tuple(sorted(self._by_name))

    def named(self, name: str | None) -> Policy:
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
