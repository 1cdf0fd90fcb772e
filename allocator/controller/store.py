"""A reflector's handler that works out differences: who wants to know hears of puts and drops only."""

from collections.abc import Callable

import structlog

from allocator.kube import JsonObject

_log = structlog.get_logger(__name__)


def key_of(item: JsonObject) -> str:
    """`namespace/name`."""
    metadata = item.get("metadata") or {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


class Store:
    """Knows the keys of all objects there are, and thereby what a fresh list no longer holds."""

    def __init__(self, put: Callable[[str, JsonObject], None], drop: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            put: told the key and state of an object that is new or changed.
            drop: told the key of an object that is gone.
        """
        self._put = put
        self._drop = drop
        self._keys: set[str] = set()

    def replaced(self, items: list[JsonObject]) -> None:
        """A fresh list: drop what it lacks, put the rest."""
        present = {key_of(item): item for item in items}
        for key in self._keys - present.keys():
            self._drop(key)
        self._keys = set(present)
        for key, item in present.items():
            self._guarded(key, item)

    def applied(self, item: JsonObject) -> None:
        """One object is new or has changed."""
        key = key_of(item)
        self._keys.add(key)
        self._guarded(key, item)

    def removed(self, item: JsonObject) -> None:
        """One object is gone."""
        key = key_of(item)
        self._keys.discard(key)
        self._drop(key)

    def _guarded(self, key: str, item: JsonObject) -> None:
        """One object that makes no sense must not blind us for all others."""
        try:
            self._put(key, item)
        except (TypeError, ValueError, AttributeError, KeyError) as reason:
            _log.error("object passed over", key=key, kind=item.get("kind"), reason=repr(reason))
