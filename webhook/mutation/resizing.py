"""The request of a pod that exists: its sizes may be edited once it is granted, all else of it stays.

Nothing is granted here. The pod is marked, the allocator sees the mark, and what it can do it does: see
allocator.core.resize. A queued pod keeps its request; it has not cost anybody anything to delete it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from allocator.api import names
from allocator.api.errors import RequestError
from allocator.api.quantities import QuantityError, parse_cores, parse_memory_ask
from webhook.mutation.outcome import Notes

_SIZES: Final[tuple[tuple[str, Callable[[str], str], Callable[[str], Any]], ...]] = (
    (names.MEMORY, names.memory_annotation, parse_memory_ask),
    (names.CORES, names.cores_annotation, parse_cores),
)
"""A size for all containers, what it is called for one, and how it is read."""


def with_request(after: Mapping[str, str], before: Mapping[str, str], *, ours: bool, notes: Notes) -> dict[str, str]:
    """A pod's annotations with its request as it was, but for sizes that its owner has changed.

    Args:
        after: as they came.
        before: as they are stored.
        ours: whether the change may be the allocator's: then what it says of the resize holds.
        notes: warnings are added here.

    Raises:
        RequestError: a new size cannot be read.
    """
    changed = {key: value for key, value in after.items() if names.is_request(key) and before.get(key) != value}
    resizable = _resizable(before)
    sizes = {key: value for key, value in changed.items() if key in resizable}
    stays = sorted(changed.keys() - sizes.keys())
    if stays:
        notes.add(f"annotation {stays[0]} stays as it was; to change it, delete the pod and create it anew")
    kept = {key: value for key, value in before.items() if names.is_request(key)}
    mark = (after if ours else before).get(names.RESIZE, "")
    if sizes:
        kept, mark = _applied(kept, sizes, _containers(before)), names.RESIZE_WANTED
        notes.add("the slice gets its new size when there is room for it; see the pod's events")
    rest = {key: value for key, value in after.items() if not names.is_request(key) and key != names.RESIZE}
    return {**rest, **kept, **({names.RESIZE: mark} if mark else {})}


def _containers(before: Mapping[str, str]) -> list[str]:
    """The containers that have slices."""
    return [key.removeprefix(names.ALLOCATION_PREFIX) for key in before if key.startswith(names.ALLOCATION_PREFIX)]


def _resizable(before: Mapping[str, str]) -> frozenset[str]:
    """The annotations by which a granted pod's slices change their size."""
    if before.get(names.STATUS) != names.STATUS_ALLOCATED:
        return frozenset()
    containers = _containers(before)
    return frozenset(key for general, own, _ in _SIZES for key in (general, *map(own, containers)))


def _applied(kept: Mapping[str, str], sizes: Mapping[str, str], containers: list[str]) -> dict[str, str]:
    """The request with new sizes. A size for all containers is for those that have none of their own."""
    found = {**kept, **sizes}
    for general, own, parse in _SIZES:
        for key in (general, *map(own, containers)):
            if key in sizes:
                _read(key, sizes[key], parse)
        if general not in sizes:
            continue
        for key in map(own, containers):
            follows = key not in kept or general not in kept or parse(kept[key]) == parse(kept[general])
            if key not in sizes and follows:
                found[key] = sizes[general]
    return found


def _read(key: str, value: str, parse: Callable[[str], Any]) -> None:
    try:
        parse(value)
    except QuantityError as reason:
        raise RequestError(
            where=f"annotation {key}", value=value, problem=reason.problem, remedy=reason.remedy
        ) from None
