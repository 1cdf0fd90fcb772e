"""metadata.managedFields kept on every write, and server-side apply, on top of the ownership tries."""

from dataclasses import dataclass
from typing import Any

from devcluster.apiserver import ownership, status
from devcluster.apiserver.ownership import Trie
from devcluster.apiserver.schema import ANY, List, Map, Struct, Type

Json = dict[str, Any]
_UNTRACKED_META = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",
    "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip
_UNTRACKED = {"f:apiVersion", "f:kind"}
_TEMPLATE: Json = {"metadata": {}, "spec": {"containers": None}}
# What Go writes for an object without any field set: these paths exist before anybody owns them.
_EMPTY: dict[str, Json] = {
    "Pod": {"spec": {"containers": None}},
    "Deployment": {"spec": {"selector": None, "template": _TEMPLATE, "strategy": {}}},
    "ReplicaSet": {"spec": {"selector": None, "template": _TEMPLATE}},
    "DaemonSet": {"spec": {"selector": None, "template": _TEMPLATE, "updateStrategy": {}}},
    "StatefulSet": {"spec": {"selector": None, "template": _TEMPLATE, "updateStrategy": {}}},
    "Job": {"spec": {"template": _TEMPLATE}},
    "Service": {"status": {"loadBalancer": {}}},
    "Event": {"involvedObject": {}, "source": {}},
}


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, through which door, and when (RFC 3339)."""

    manager: str
    api_version: str
    subresource: str
    time: str


def _strip(trie: Trie, ignored: frozenset[str]) -> Trie:
    """Less what nobody can own: identity, system fields, and the half that this door cannot write."""
    kept = {element: below for element, below in trie.items() if element not in _UNTRACKED and element not in ignored}
    meta = kept.pop("f:metadata", None)
    if meta:
        rest = {key: value for key, value in meta.items() if key[2:] not in _UNTRACKED_META and key != "."}
        if rest:
            kept["f:metadata"] = rest
    kept.pop(".", None)
    return kept


def _plain(obj: Json) -> Json:
    """The object as compared: without managedFields."""
    if "managedFields" not in obj["metadata"]:
        return obj
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": meta}


def _baseline(kind: str) -> Json:
    return {"metadata": {}, "spec": {}, "status": {}, **_EMPTY.get(kind, {})}


def record_update(old: Json | None, new: Json, declared: Type, writer: Writer, *, ignored: frozenset[str]) -> None:
    """Set `new`'s managedFields for an ordinary write (not an apply). `old` is None on create."""
    before = _plain(old) if old is not None else _baseline(new.get("kind", ""))
    wrote, removed = ownership.changed(before, _plain(new), declared)
    wrote, removed = _strip(wrote, ignored), _strip(removed, ignored)
    entries = list((old or {"metadata": {}})["metadata"].get("managedFields") or ())
    if old is not None and "managedFields" in new["metadata"] and not any(new["metadata"]["managedFields"]):
        entries = []  # the client asked to forget all owners, by an empty list or an empty entry
    if wrote or removed:
        entries = _credited(entries, wrote, removed, writer)
    _set(new, entries)


def _credited(entries: list[Json], wrote: Trie, removed: Trie, writer: Writer) -> list[Json]:
    """The writer gets what it wrote; everybody else loses it, and what was removed."""
    kept: list[Json] = []
    own: Trie = {}
    gone = ownership.union(wrote, removed) if removed else wrote
    for entry in entries:
        if _is(entry, writer, "Update"):
            own = ownership.difference(entry["fieldsV1"], removed) if removed else entry["fieldsV1"]
            continue
        left = ownership.difference(entry["fieldsV1"], gone)
        if left:
            kept.append({**entry, "fieldsV1": left} if left != entry["fieldsV1"] else entry)
    owned = ownership.union(own, wrote) if own and wrote else own or wrote
    if owned:
        kept.append(_entry(writer, "Update", owned))
    return kept


def _is(entry: Json, writer: Writer, operation: str) -> bool:
    return (
        entry["manager"] == writer.manager
        and entry["operation"] == operation
        and entry.get("subresource", "") == writer.subresource
        and (entry["apiVersion"] == writer.api_version or operation == "Apply")
    )


def _entry(writer: Writer, operation: str, fields: Trie) -> Json:
    entry: Json = {
        "manager": writer.manager,
        "operation": operation,
        "apiVersion": writer.api_version,
        "time": writer.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if writer.subresource:
        entry["subresource"] = writer.subresource
    return entry


def _set(obj: Json, entries: list[Json]) -> None:
    if entries:
        obj["metadata"]["managedFields"] = sorted(
            entries, key=lambda e: (e["operation"], e.get("time", ""), e["manager"], e.get("subresource", ""))
        )
    else:
        obj["metadata"].pop("managedFields", None)


def apply(
    live: Json | None, config: Json, declared: Type, writer: Writer, *, force: bool, ignored: frozenset[str]
) -> Json:
    """The live object with the configuration applied, ownership included (defaults are not yet set).

    Raises:
        ApiError: 409 naming every field that another manager set to another value.
    """
    claimed = _strip(ownership.leaves(config, declared), ignored)
    base = live or {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": {}}
    merged = merge_typed(base, config, declared)
    wrote, _ = ownership.changed(_plain(base), _plain(merged), declared)
    entries = list(base["metadata"].get("managedFields") or ())
    others = [entry for entry in entries if not _is(entry, writer, "Apply")]
    kept = _settle(others, _strip(wrote, ignored), claimed, force=force)
    before: Trie = next((entry["fieldsV1"] for entry in entries if _is(entry, writer, "Apply")), {})
    dropped = ownership.difference(before, claimed)
    for owned in (claimed, *(entry["fieldsV1"] for entry in kept)):
        dropped = ownership.unshadowed(ownership.difference(dropped, owned), owned)
    if dropped:
        merged = ownership.without(merged, dropped, declared)
    result = {**merged, "metadata": dict(merged["metadata"])}
    _set(result, [*kept, _applied(live, writer, claimed, changed=bool(wrote) or claimed != before)])
    return result


def _applied(live: Json | None, writer: Writer, claimed: Trie, *, changed: bool) -> Json:
    """The applier's entry; its time stands while nothing changes."""
    for entry in ((live or {}).get("metadata") or {}).get("managedFields") or ():
        if _is(entry, writer, "Apply") and not changed:
            return dict(entry)
    return _entry(writer, "Apply", claimed)


def _settle(others: list[Json], wrote: Trie, claimed: Trie, *, force: bool) -> list[Json]:
    """Check changed fields against their owners; when forced, take them away."""
    conflicts: list[tuple[str, str]] = []
    kept: list[Json] = []
    contested = ownership.intersection(wrote, claimed)
    for entry in others:
        clash = ownership.intersection(contested, entry["fieldsV1"])
        conflicts += [(_owner(entry), path) for path in ownership.paths(clash)]
        left = ownership.difference(entry["fieldsV1"], clash) if clash else entry["fieldsV1"]
        if left:
            kept.append({**entry, "fieldsV1": left})
    if conflicts and not force:
        raise _conflict(conflicts)
    return kept


def _owner(entry: Json) -> str:
    text = f'conflict with "{entry["manager"]}"'
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    if entry["operation"] == "Update":
        text += f" using {entry['apiVersion']}"
        if entry.get("time"):
            text += f" at {entry['time']}"
    return text


def _conflict(conflicts: list[tuple[str, str]]) -> status.ApiError:
    causes = [status.Cause(path, owner, "FieldManagerConflict").as_json() for owner, path in conflicts]
    owners = dict.fromkeys(owner for owner, _ in conflicts)
    if len(conflicts) == 1:
        listed = f"{conflicts[0][0]}: {conflicts[0][1]}"
    else:
        listed = "".join(
            f"{owner}:\n" + "\n".join(f"- {path}" for who, path in conflicts if who == owner) + "\n" for owner in owners
        ).rstrip("\n")
    plural = "" if len(conflicts) == 1 else "s"
    message = f"Apply failed with {len(conflicts)} conflict{plural}: {listed}"
    return status.ApiError(409, "Conflict", message, details={"causes": causes})


def merge_typed(live: Any, config: Any, declared: Type) -> Any:
    """Configuration over live value, by the type: keyed lists by key, sets as sets, atomics replaced."""
    if (
        isinstance(declared, Struct | Map)
        and not declared.atomic
        and isinstance(live, dict)
        and isinstance(config, dict)
    ):
        merged = dict(live)
        for key, value in config.items():
            kind = declared.value if isinstance(declared, Map) else declared.fields.get(key, ANY)
            merged[key] = merge_typed(merged[key], value, kind) if key in merged else value
        return merged
    if isinstance(declared, List) and declared.kind != "atomic" and isinstance(live, list) and isinstance(config, list):
        items = {ownership.element_of(item, declared): item for item in live}
        given = {ownership.element_of(item, declared): item for item in config}
        for element, item in given.items():
            items[element] = merge_typed(items[element], item, declared.item) if element in items else item
        order = [*given, *(element for element in items if element not in given)] if _reordered(items, given) else items
        return [items[element] for element in order]
    return config


def _reordered(items: dict[str, Any], given: dict[str, Any]) -> bool:
    """Does the configuration list the shared items in another order than they stand?"""
    return [element for element in items if element in given] != list(given)
