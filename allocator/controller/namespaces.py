"""Namespaces by name: what their labels and annotations say of the pods in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allocator.api import names


@dataclass(slots=True)
class NamespaceBook:
    """The namespaces of the cluster, as last seen."""

    _known: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, name: str) -> Mapping[str, Any] | None:
        """A Namespace object; None: none of that name has been seen."""
        return self._known.get(name)

    def opted_in(self, name: str) -> bool:
        """Whether the pods of a namespace come past the webhook."""
        labels = (self._known.get(name) or {}).get("metadata", {}).get("labels") or {}
        return bool(labels.get(names.INJECT_LABEL) == names.INJECT_ENABLED)

    def put(self, key: str, item: Mapping[str, Any]) -> None:
        """One is new or has changed."""
        self._known[key.partition("/")[2]] = item

    def drop(self, key: str) -> None:
        """One is gone."""
        self._known.pop(key.partition("/")[2], None)
