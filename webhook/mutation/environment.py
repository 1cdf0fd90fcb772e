"""The two environment variables that vramshare sets: LD_PRELOAD and NVIDIA_VISIBLE_DEVICES.

Both come from the pod's annotations by fieldRef, because a queued pod's node, and with it their values, is decided
after its spec has become immutable.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from allocator.api import names
from webhook.mutation.outcome import Notes
from webhook.mutation.shapes import Json, put

NAMES: Final = (names.ENV_PRELOAD, names.ENV_VISIBLE)
_VOID: Final = {"name": names.ENV_VISIBLE, "value": names.VISIBLE_NONE}
_REFERENCE: Final = "$("
_PREFIXES: Final = (names.PRELOAD_PREFIX, names.VISIBLE_DEVICES_PREFIX)


def for_slice(container: str) -> list[Json]:
    """The variables of a container with a slice."""
    return [
        _from_annotation(names.ENV_PRELOAD, names.preload_annotation(container)),
        _from_annotation(names.ENV_VISIBLE, names.visible_devices_annotation(container)),
    ]


def with_slice(container: Json, notes: Notes) -> Json:
    """A container with a slice; says so where this replaces something that the user set."""
    name = container["name"]
    wanted = for_slice(name)
    before = _last(container, names.ENV_VISIBLE)
    if before is not None and before not in wanted and before != _VOID:
        notes.add(f"container {name!r}: {names.ENV_VISIBLE} is replaced; vramshare chooses the GPUs")
    return {**container, "env": put(container.get("env"), wanted, key="name")}


def without_slice(container: Json, annotations: Mapping[str, str], notes: Notes) -> Json:
    """A container that sees no GPU. A preload of ours that it brought goes; what the user preloads stays."""
    name = container["name"]
    env = voided(container.get("env"))
    before = _last(container, names.ENV_VISIBLE)
    if before is not None and before != _VOID and not _ours(before):
        notes.add(f"container {name!r}: {names.ENV_VISIBLE} is now void; it has no GPU slice (see vramshare.io/memory)")
    preload = _last(container, names.ENV_PRELOAD)
    if preload is not None and _ours(preload):
        kept = users_part(annotations.get(names.preload_annotation(name), ""))
        env = [one for one in env if one.get("name") != names.ENV_PRELOAD]
        env += [{"name": names.ENV_PRELOAD, "value": kept}] if kept else []
    return {**container, "env": env}


def voided(env: Iterable[Json] | None) -> list[Json]:
    """An environment in which no GPU is visible."""
    return put(env, [_VOID], key="name")


def users_preload(container: Mapping[str, Any], annotations: Mapping[str, str], notes: Notes) -> str:
    """What the user wants in LD_PRELOAD: the spec's literal, or what an earlier pass saved of it in the annotation.

    A value from elsewhere (valueFrom), or one with `$(NAME)` in it, cannot be joined with ours without reading
    other objects or the kubelet's mind: ours takes its place, and a warning says so.
    """
    entry = _last(container, names.ENV_PRELOAD)
    name = container["name"]
    if entry is None:
        return ""
    if _ours(entry):
        return users_part(annotations.get(names.preload_annotation(name), ""))
    value = str(entry.get("value") or "")
    if entry.get("valueFrom") or _REFERENCE in value:
        notes.add(f"container {name!r}: {names.ENV_PRELOAD} is replaced; only a literal value can be kept beside ours")
        return ""
    kept = users_part(value)
    if kept:
        notes.add(f"container {name!r}: {names.ENV_PRELOAD} starts with vramshare's library now; yours follows")
    return kept


def users_part(value: str) -> str:
    """An LD_PRELOAD without our own library."""
    parts = re.split(r"[:\s]+", value)
    return ":".join(part for part in parts if part and not part.startswith(f"{names.LIBRARY_DIR}/"))


def restored(new: Iterable[Json] | None, old: Iterable[Json] | None) -> list[Json]:
    """The new list with our two variables exactly as the old one has them. Where they are not ours they are left."""
    result, before = list(new or ()), list(old or ())
    for name in NAMES:
        has = [one for one in result if one.get("name") == name]
        had = [one for one in before if one.get("name") == name]
        if has == had or not any(_ours(one) or one == _VOID for one in [*has, *had]):
            continue
        place = next((index for index, one in enumerate(result) if one.get("name") == name), len(result))
        others = [[one for one in part if one.get("name") != name] for part in (result[:place], result[place:])]
        result = [*others[0], *had, *others[1]]
    return result


def _from_annotation(variable: str, annotation: str) -> Json:
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{annotation}']"}
    return {"name": variable, "valueFrom": {"fieldRef": field}}


def _last(container: Mapping[str, Any], variable: str) -> Json | None:
    """The entry that counts: of several with one name, the last."""
    found = [one for one in container.get("env") or () if one.get("name") == variable]
    return found[-1] if found else None


def _ours(entry: Mapping[str, Any]) -> bool:
    path = str(((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath", ""))
    return path.startswith(tuple(f"metadata.annotations['{prefix}" for prefix in _PREFIXES))
