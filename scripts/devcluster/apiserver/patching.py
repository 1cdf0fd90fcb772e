"""JSON patch (RFC 6902), JSON merge patch (RFC 7396) and strategic merge patch.

All take a tree that they may change or share; callers pass a copy of what is stored.
"""

from collections.abc import Sequence
from typing import Any

from devcluster.apiserver.schema import List, Map, Scalar, Struct, Type

Json = dict[str, Any]


class PatchError(ValueError):
    """The patch does not apply to this object."""


def json_patch(document: Any, operations: Sequence[Json]) -> Any:
    """Apply operations in order.

    Raises:
        PatchError: a path that is not there, a failed test, an unknown operation.
    """
    holder = {"": document}
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or not isinstance(operation.get("path"), str):
            raise PatchError("a patch operation needs op and path")
        _operate(holder, operation)
    return holder[""]


def _operate(holder: Json, operation: Json) -> None:
    kind = operation["op"]
    parent, token = _find(holder, operation["path"])
    if kind == "add":
        _add(parent, token, _copied(_value(operation)))
    elif kind == "remove":
        _take(parent, token)
    elif kind == "replace":
        _peek(parent, token)
        _put(parent, token, _copied(_value(operation)))
    elif kind == "test":
        if _peek_or_none(parent, token) != operation.get("value"):
            raise PatchError(f"testing value {operation['path']} failed")
    elif kind in {"move", "copy"}:
        source, source_token = _find(holder, operation.get("from", ""))
        value = _copied(_peek(source, source_token))
        if kind == "move":
            _take(source, source_token)
            parent, token = _find(holder, operation["path"])
        _add(parent, token, value)
    else:
        raise PatchError(f"unexpected kind: {kind}")


def _copied(value: Any) -> Any:
    """A copy of a JSON tree; `copy.deepcopy` takes ten times as long, for what JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value


def _value(operation: Json) -> Any:
    if "value" not in operation:
        raise PatchError(f"operation {operation['op']} at {operation['path']} has no value")
    return operation["value"]


def _find(holder: Json, pointer: str) -> tuple[Any, str]:
    """The container that holds the last token of the pointer."""
    if pointer and not pointer.startswith("/"):
        raise PatchError(f"pointer {pointer!r} does not start with /")
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]
    node: Any = holder
    for token in tokens[:-1]:
        node = _peek(node, token)
    return node, tokens[-1]


def _index(items: list[Any], token: str, *, end: bool) -> int:
    if token == "-" and end:  # noqa: S105 - a token of a JSON pointer
        return len(items)
    if not token.isdigit() or int(token) > len(items) - (0 if end else 1):
        raise PatchError(f"index {token} is out of bounds")
    return int(token)


def _peek(node: Any, token: str) -> Any:
    if isinstance(node, dict) and token in node:
        return node[token]
    if isinstance(node, list):
        return node[_index(node, token, end=False)]
    raise PatchError(f"there is nothing at {token!r}")


def _peek_or_none(node: Any, token: str) -> Any:
    """For tests: an absent key equals null, as the server's library has it."""
    return node.get(token) if isinstance(node, dict) else _peek(node, token)


def _add(node: Any, token: str, value: Any) -> None:
    if isinstance(node, list):
        node.insert(_index(node, token, end=True), value)
    else:
        _put(node, token, value)


def _put(node: Any, token: str, value: Any) -> None:
    if isinstance(node, dict):
        node[token] = value
    elif isinstance(node, list):
        node[_index(node, token, end=False)] = value
    else:
        raise PatchError(f"cannot set {token!r} in a scalar")


def _take(node: Any, token: str) -> None:
    _peek(node, token)
    del node[int(token) if isinstance(node, list) else token]


def merge_patch(target: Any, patch: Any) -> Any:
    """Objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList/"
_ORDER_PREFIX = "$setElementOrder/"


def strategic_merge(target: Any, patch: Any, declared: Type) -> Any:
    """Merge by the type's strategies: lists of objects by merge key, directives `$patch`, `$retainKeys` and kin.

    Raises:
        PatchError: a list item without its merge key, an unknown directive.
    """
    if isinstance(declared, Struct | Map) and isinstance(patch, dict):
        return _merge_object(target if isinstance(target, dict) else {}, patch, declared)
    if isinstance(declared, List) and declared.merges and isinstance(patch, list):
        return _merge_list(target if isinstance(target, list) else [], patch, declared)
    if isinstance(declared, Scalar) and declared.kind == "any":
        return merge_patch(target, patch)
    return patch


def _merge_object(target: Json, patch: Json, declared: Struct | Map) -> Json:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in {None, "merge"}:
        raise PatchError(f"Unknown patch type found: {directive}")
    merged = dict(target)
    if _RETAIN in patch:
        merged = {key: value for key, value in merged.items() if key in patch[_RETAIN]}
    for key, value in patch.items():
        if key.startswith(_DELETE_PREFIX):
            field = key.removeprefix(_DELETE_PREFIX)
            merged[field] = [item for item in merged.get(field) or () if item not in value]
        elif key.startswith("$"):
            continue  # directives: applied above, or once all fields are merged
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = strategic_merge(merged.get(key), value, _child(declared, key))
    _reorder(merged, patch, declared)
    return merged


def _reorder(merged: Json, patch: Json, declared: Struct | Map) -> None:
    """Obey `$setElementOrder` of every list."""
    for key, order in patch.items():
        if key.startswith(_ORDER_PREFIX):
            field = key.removeprefix(_ORDER_PREFIX)
            if field in merged:
                merged[field] = _ordered(merged[field], order, _child(declared, field))


def _child(declared: Struct | Map, key: str) -> Type:
    if isinstance(declared, Map):
        return declared.value
    return declared.fields.get(key, Scalar("any"))


def _merge_list(target: list[Any], patch: list[Any], declared: List) -> list[Any]:
    if not declared.merge_key:
        return target + [item for item in patch if item not in target]
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if item.get(_DIRECTIVE) != "replace"]
    key = declared.merge_key
    merged = list(target)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise PatchError(f"map: {item} does not contain declared merge key: {key}")
        at = next((index for index, old in enumerate(merged) if old.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            merged = [old for old in merged if old.get(key) != item[key]]
        elif at is None:
            merged.append(strategic_merge({}, item, declared.item))
        else:
            merged[at] = strategic_merge(merged[at], item, declared.item)
    return merged


def _ordered(items: list[Any], order: list[Any], declared: Type) -> list[Any]:
    """Items in the asked order; those it does not name keep their place after what they followed."""
    key = declared.merge_key if isinstance(declared, List) else ""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    positions = {str(name): index for index, name in enumerate(wanted)}
    last = -1
    ranked = []
    for index, item in enumerate(items):
        last = positions.get(str(identity(item)), last)
        ranked.append((last, index, item))
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])]
