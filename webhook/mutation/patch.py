"""The difference of two JSON documents as a JSON patch (RFC 6902).

`jsonpatch.make_patch` compares two pods as a whole, item by item through their serialised forms; most of a pod is
bookkeeping that no mutation touches. This walk passes over what is shared between the two documents, and writes
exactly the operations that a mutation by appending, replacing and removing amounts to.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonpatch

Operation = dict[str, Any]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> jsonpatch.JsonPatch:
    """The patch that turns one document into the other; empty where they are equal."""
    return jsonpatch.JsonPatch(list(_values("", before, after)))


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal as JSON: `1`, `1.0` and `true`, equal to Python, are not."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _values(path: str, before: Any, after: Any) -> Iterator[Operation]:
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _mappings(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(path, before, after)
    elif not same(before, after):
        yield {"op": "replace", "path": path, "value": after}


def _mappings(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Operation]:
    for key, value in before.items():
        if key not in after:
            yield {"op": "remove", "path": _join(path, key)}
        else:
            yield from _values(_join(path, key), value, after[key])
    for key, value in after.items():
        if key not in before:
            yield {"op": "add", "path": _join(path, key), "value": value}


def _lists(path: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Operation]:
    """Equal ends are left alone; what lies between is changed pairwise, then cut or filled up."""
    shorter = min(len(before), len(after))
    start = 0
    while start < shorter and same(before[start], after[start]):
        start += 1
    end = 0
    while end < shorter - start and same(before[-1 - end], after[-1 - end]):
        end += 1
    gone, come = len(before) - end, len(after) - end
    common = min(gone, come)
    for index in range(start, common):
        yield from _values(_join(path, str(index)), before[index], after[index])
    for index in reversed(range(common, gone)):
        yield {"op": "remove", "path": _join(path, str(index))}
    for index in range(common, come):
        yield {"op": "add", "path": _join(path, str(index)), "value": after[index]}


def _join(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
