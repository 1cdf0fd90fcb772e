"""Who owns which field: the sets of metadata.managedFields, as tries in their wire form (FieldsV1).

A trie maps path elements (`f:name`, `k:{...}`, `v:...`) to tries; the element "." says that the path itself is
owned, and an empty trie is an owned leaf.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from devcluster.apiserver.schema import ANY, List, Map, Struct, Type

Trie = dict[str, Any]
Json = dict[str, Any]
_SELF = "."


def changed(old: Any, new: Any, declared: Type) -> tuple[Trie, Trie]:
    """The paths that a write set (added or modified), and those that it removed, below one value of the type."""
    wrote: Trie = {}
    removed: Trie = {}
    if old == new:
        return wrote, removed
    if (isinstance(declared, Struct) and not declared.atomic) or (isinstance(declared, Map) and not declared.atomic):
        _compare_fields(old, new, declared, wrote, removed)
    elif isinstance(declared, List) and declared.kind in {"map", "set"}:
        _compare_items(old, new, declared, wrote, removed)
    else:
        wrote[_SELF] = {}
    return wrote, removed


def _compare_fields(old: Any, new: Any, declared: Struct | Map, wrote: Trie, removed: Trie) -> None:
    before, after = old or {}, new or {}
    for key, value in after.items():
        kind = declared.value if isinstance(declared, Map) else declared.fields.get(key, ANY)
        element = f"f:{key}"
        if key not in before:
            wrote[element] = everything(value, kind)
        elif before[key] != value:
            _put(element, changed(before[key], value, kind), wrote, removed)
    for key, value in before.items():
        if key not in after:
            kind = declared.value if isinstance(declared, Map) else declared.fields.get(key, ANY)
            removed[f"f:{key}"] = everything(value, kind)


def _compare_items(old: Any, new: Any, declared: List, wrote: Trie, removed: Trie) -> None:
    before = {element_of(item, declared): item for item in old or ()}
    after = {element_of(item, declared): item for item in new or ()}
    for element, item in after.items():
        if element not in before:
            wrote[element] = everything(item, declared.item)
        elif before[element] != item:
            _put(element, changed(before[element], item, declared.item), wrote, removed)
    for element, item in before.items():
        if element not in after:
            removed[element] = everything(item, declared.item)


def _put(element: str, tries: tuple[Trie, Trie], wrote: Trie, removed: Trie) -> None:
    """Hang a child's tries below the element; an owned leaf is an empty trie."""
    for trie, target in zip(tries, (wrote, removed), strict=True):
        if trie:
            target[element] = {} if set(trie) == {_SELF} else trie


def everything(value: Any, declared: Type) -> Trie:
    """Every path of a value that is new as a whole, itself included."""
    trie: Trie = {}
    if isinstance(declared, Struct) and not declared.atomic and isinstance(value, dict):
        trie = {f"f:{key}": everything(item, declared.fields.get(key, ANY)) for key, item in value.items()}
    elif isinstance(declared, Map) and not declared.atomic and isinstance(value, dict):
        trie = {f"f:{key}": everything(item, declared.value) for key, item in value.items()}
    elif isinstance(declared, List) and declared.kind != "atomic" and isinstance(value, list):
        trie = {element_of(item, declared): everything(item, declared.item) for item in value}
    if trie:
        trie[_SELF] = {}
    return trie


def leaves(value: Any, declared: Type) -> Trie:
    """The paths that an applied configuration claims: leaves, list items, and empty maps or lists."""
    trie: Trie = {}
    if isinstance(declared, Struct) and not declared.atomic and isinstance(value, dict):
        trie = {f"f:{key}": leaves(item, declared.fields.get(key, ANY)) for key, item in value.items()}
    elif isinstance(declared, Map) and not declared.atomic and isinstance(value, dict):
        trie = {f"f:{key}": leaves(item, declared.value) for key, item in value.items()}
    elif isinstance(declared, List) and declared.kind != "atomic" and isinstance(value, list):
        for item in value:
            below = leaves(item, declared.item)
            trie[element_of(item, declared)] = {**below, _SELF: {}} if below else below
    return trie


def element_of(item: Any, declared: List) -> str:
    """`k:{"name":"c"}` for an item of a keyed list, `v:"x"` for one of a set."""
    if declared.kind == "map" and isinstance(item, dict):
        keys = {key: item.get(key, declared.defaults.get(key)) for key in sorted(declared.keys)}
        present = {key: value for key, value in keys.items() if value is not None}
        return "k:" + orjson.dumps(present).decode()
    return "v:" + orjson.dumps(item).decode()


def union(left: Trie, right: Trie) -> Trie:
    """Paths in either."""
    if not left or not right:
        return _owned(left or right) if bool(left) != bool(right) else {}
    merged = dict(left)
    for element, below in right.items():
        merged[element] = union_at(merged[element], below) if element in merged else below
    return merged


def union_at(left: Trie, right: Trie) -> Trie:
    """Union of what hangs below one element: a leaf joined with children owns itself."""
    if not left and not right:
        return {}
    if not left or not right:
        return _owned(left or right)
    return union(left, right)


def _owned(trie: Trie) -> Trie:
    return trie if _SELF in trie else {**trie, _SELF: {}}


def difference(left: Trie, right: Trie) -> Trie:
    """Paths in left that are not in right (a path in right takes only itself)."""
    kept: Trie = {}
    for element, below in left.items():
        other = right.get(element)
        if other is None:
            kept[element] = below
        elif element != _SELF:
            rest = _difference_at(below, other)
            if rest is not None:
                kept[element] = rest
    return kept


def _difference_at(left: Trie, right: Trie) -> Trie | None:
    """The same below one element; None when nothing is left."""
    left_self = not left or _SELF in left
    right_self = not right or _SELF in right
    rest = difference({k: v for k, v in left.items() if k != _SELF}, {k: v for k, v in right.items() if k != _SELF})
    if left_self and not right_self:
        return {**rest, _SELF: {}} if rest else {}
    return rest or None


def unshadowed(left: Trie, owned: Trie) -> Trie:
    """Paths in left below which nothing is owned: a container stays while something in it has an owner."""
    kept: Trie = {}
    for element, below in left.items():
        other = owned.get(element)
        if other is None or element == _SELF:
            kept[element] = below
            continue
        deeper = unshadowed({key: item for key, item in below.items() if key != _SELF}, other)
        if deeper:
            kept[element] = deeper
    return kept


def intersection(left: Trie, right: Trie) -> Trie:
    """Paths in both."""
    common: Trie = {}
    for element, below in left.items():
        other = right.get(element)
        if other is None:
            continue
        if element == _SELF:
            common[_SELF] = {}
            continue
        both_self = (not below or _SELF in below) and (not other or _SELF in other)
        deeper = intersection(
            {k: v for k, v in below.items() if k != _SELF}, {k: v for k, v in other.items() if k != _SELF}
        )
        if deeper:
            common[element] = {**deeper, _SELF: {}} if both_self else deeper
        elif both_self:
            common[element] = {}
    return common


def paths(trie: Trie, prefix: str = "") -> list[str]:
    """Every owned path as a conflict names it: `.spec.containers[name="c"].image`."""
    found: list[str] = []
    for element, below in trie.items():
        if element == _SELF:
            found.append(prefix or ".")
            continue
        here = prefix + _shown(element)
        found.extend(paths(below, here) if below else [here])
    return found


def _shown(element: str) -> str:
    kind, text = element.split(":", 1)
    if kind == "f":
        return f".{text}"
    if kind == "k":
        keys: Mapping[str, Any] = orjson.loads(text)
        return "[" + ",".join(f"{key}={orjson.dumps(value).decode()}" for key, value in keys.items()) + "]"
    return f"[={text}]"


def without(value: Any, trie: Trie, declared: Type) -> Any:
    """The value less the owned paths of the trie."""
    if isinstance(value, dict) and isinstance(declared, Struct | Map):
        kept: Json = {}
        for key, item in value.items():
            kind = declared.value if isinstance(declared, Map) else declared.fields.get(key, ANY)
            below = trie.get(f"f:{key}")
            if below is None:
                kept[key] = item
            elif below and (_SELF not in below or _keeps_children(item, below, kind)):
                kept[key] = without(item, below, kind)
        return kept
    if isinstance(value, list) and isinstance(declared, List) and declared.kind != "atomic":
        return [
            without(item, trie.get(element_of(item, declared)) or {}, declared.item)
            for item in value
            if not _goes(trie.get(element_of(item, declared)))
        ]
    return value


def _goes(below: Trie | None) -> bool:
    return below is not None and (not below or _SELF in below)


def _keeps_children(value: Any, below: Trie, declared: Type) -> bool:
    """Does something remain below a removed path that others still own?"""
    rest = without(value, {key: item for key, item in below.items() if key != _SELF}, declared)
    return bool(rest)
