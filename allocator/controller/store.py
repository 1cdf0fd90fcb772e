"""A reflector's handler that works out differences: who wants to know hears of puts and drops only."""

from collections.abc import Callable
from typing import Protocol

import structlog

from allocator.kube import JsonObject

_log = structlog.get_logger(__name__)


def key_of(item: JsonObject) -> str:
    """`namespace/name`."""
    metadata = item.get("metadata") or {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


class Store:
    """Knows the keys of all objects there are, and thereby what a fresh list no longer holds."""

    def __init__(
        self,
        put: Callable[[str, JsonObject], None],
        drop: Callable[[str], None],
        *,
        missed: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            put: told the key and state of an object that is new or changed.
            drop: told the key of an object that is gone.
            missed: told instead of `drop` where nobody saw it go: its last state is not known.
        """
        self._put = put
        self._drop = drop
        self._missed = missed or drop
        self._keys: set[str] = set()

    def replaced(self, items: list[JsonObject]) -> None:
        """A fresh list: drop what it lacks, put the rest."""
        present = {key_of(item): item for item in items}
        for key in self._keys - present.keys():
            _guarded(key, self._missed, key)
        self._keys = set(present)
        for key, item in present.items():
            _guarded(key, self._put, key, item)

    def applied(self, item: JsonObject) -> None:
        """One object is new or has changed."""
        key = key_of(item)
        self._keys.add(key)
        _guarded(key, self._put, key, item)

    def removed(self, item: JsonObject) -> None:
        """One object is gone."""
        key = key_of(item)
        self._keys.discard(key)
        _guarded(key, self._drop, key)


class Book(Protocol):
    """Who wants to know of one kind of objects."""

    def put(self, key: str, item: JsonObject, /) -> None:
        """One is new or has changed."""

    def drop(self, key: str, /) -> None:
        """One is gone."""


class Both:
    """Two who want to know of the same objects."""

    def __init__(self, one: Book, other: Book) -> None:
        self._books = (one, other)

    def put(self, key: str, item: JsonObject) -> None:
        """One is new or has changed."""
        for book in self._books:
            book.put(key, item)

    def drop(self, key: str) -> None:
        """One is gone."""
        for book in self._books:
            book.drop(key)


def _guarded(key: str, tell: Callable[..., None], *what: object) -> None:
    """One object that makes no sense must not blind us for all others: a watch would come upon it again for ever."""
    try:
        tell(*what)
    except Exception:  # noqa: BLE001  # whatever it is, the objects behind it matter too, and it is logged
        _log.exception("object passed over", key=key)
