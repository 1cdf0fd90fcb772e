"""What may change in a pod once it exists: very little, and more while it is gated."""

import copy
import difflib
from typing import Any

import orjson

from devcluster.apiserver.kinds.pod_validation import forbidden, invalid
from devcluster.apiserver.status import Cause

Json = dict[str, Any]
_FORBIDDEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_TERMS = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"


def validate_update(new: Json, old: Json) -> list[Cause]:
    """Everything that the new pod may not change."""
    after, before = new["spec"], old["spec"]
    if after == before:
        return []
    causes: list[Cause] = []
    for key in ("containers", "initContainers"):
        if len(after.get(key) or ()) != len(before.get(key) or ()):
            return [forbidden(f"spec.{key}", f"pod updates may not add or remove {key}")]
    causes += _deadline(after, before)
    causes += _tolerations(after, before)
    causes += _gates(after, before)
    if causes:
        return causes
    allowed, wrong = _allowed(after, before)
    if wrong:
        return wrong
    if allowed != before:
        return [forbidden("spec", f"{_FORBIDDEN}\n{_difference(allowed, before)}")]
    return []


def _deadline(after: Json, before: Json) -> list[Cause]:
    new, old = after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if old is not None and (new is None or new > old):
        return [invalid("spec.activeDeadlineSeconds", new or "null", "must be less than or equal to previous value")]
    return []


def _tolerations(after: Json, before: Json) -> list[Cause]:
    """Old ones stay, but for their seconds; new ones may come."""

    def plain(toleration: Json) -> Json:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    present = [plain(toleration) for toleration in after.get("tolerations") or ()]
    if all(plain(toleration) in present for toleration in before.get("tolerations") or ()):
        return []
    return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _gates(after: Json, before: Json) -> list[Cause]:
    known = {gate["name"] for gate in before.get("schedulingGates") or ()}
    return [
        forbidden(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate['name']}'",
        )
        for index, gate in enumerate(after.get("schedulingGates") or ())
        if gate["name"] not in known
    ]


def _allowed(after: Json, before: Json) -> tuple[Json, list[Cause]]:
    """The new spec with all permitted changes undone, and what is wrong with those permitted while gated."""
    spec = copy.deepcopy(after)
    for key in ("containers", "initContainers"):
        for container, old in zip(spec.get(key) or (), before.get(key) or (), strict=True):
            if "image" in old:
                container["image"] = old["image"]
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _undo(spec, before, key)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        _undo(spec, before, "terminationGracePeriodSeconds")
    wrong: list[Cause] = []
    if before.get("schedulingGates"):
        wrong = _node_selector(after, before) + _node_affinity(after, before)
        _undo(spec, before, "nodeSelector")
        _undo_node_affinity(spec, before)
    return spec, wrong


def _undo(spec: Json, before: Json, key: str) -> None:
    if key in before:
        spec[key] = before[key]
    else:
        spec.pop(key, None)


def _undo_node_affinity(spec: Json, before: Json) -> None:
    affinity = dict(spec.get("affinity") or {})
    old = (before.get("affinity") or {}).get("nodeAffinity")
    affinity.pop("nodeAffinity", None)
    if old is not None:
        affinity["nodeAffinity"] = old
    if affinity or "affinity" in before:
        spec["affinity"] = affinity
    else:
        spec.pop("affinity", None)


def _node_selector(after: Json, before: Json) -> list[Cause]:
    new, old = after.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if all(new.get(key) == value for key, value in old.items()):
        return []
    return [invalid("spec.nodeSelector", orjson.dumps(new).decode(), "only additions are allowed")]


def _node_affinity(after: Json, before: Json) -> list[Cause]:
    """A gated pod's node affinity may only become tighter."""
    old = ((before.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    new = ((after.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    if not old:
        return []
    old_terms = old.get("nodeSelectorTerms") or []
    new_terms = (new or {}).get("nodeSelectorTerms") or []
    if len(old_terms) != len(new_terms):
        wrong = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid(_TERMS, orjson.dumps(new_terms).decode(), wrong)]
    causes = []
    for index, (was, term) in enumerate(zip(old_terms, new_terms, strict=True)):
        empty = not was.get("matchExpressions") and not was.get("matchFields")
        if (empty and term != was) or not (
            _extends(term, was, "matchExpressions") and _extends(term, was, "matchFields")
        ):
            wrong = "only additions are allowed (no mutations or deletions)"
            causes.append(invalid(f"{_TERMS}[{index}]", orjson.dumps(term).decode(), wrong))
    return causes


def _extends(term: Json, was: Json, key: str) -> bool:
    old = was.get(key) or []
    return (term.get(key) or [])[: len(old)] == old


def _difference(new: Json, old: Json) -> str:
    """The change as a unified diff of the two specs."""
    texts = [
        orjson.dumps(spec, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines(keepends=True)
        for spec in (old, new)
    ]
    return "".join(list(difflib.unified_diff(texts[0], texts[1]))[2:])


def restrict(sub: str, new: Json, old: Json) -> None:
    """Let a subresource's write change its own part of the spec only."""
    spec = copy.deepcopy(old["spec"])
    if sub == "ephemeralcontainers":
        given = (new.get("spec") or {}).get("ephemeralContainers")
        if given:
            spec["ephemeralContainers"] = given
        else:
            spec.pop("ephemeralContainers", None)
    else:
        for key in ("containers", "initContainers"):
            sizes = {c["name"]: c for c in (new.get("spec") or {}).get(key) or ()}
            for container in spec.get(key) or ():
                wanted = sizes.get(container["name"], {})
                for field in ("resources", "resizePolicy"):
                    if field in wanted:
                        container[field] = wanted[field]
    new["spec"] = spec
    if "status" in old:
        new["status"] = old["status"]


def validate_part(sub: str, new: Json, old: Json) -> list[Cause]:
    """What a subresource's write may not do."""
    if sub != "ephemeralcontainers":
        return []
    before = {c["name"]: c for c in old["spec"].get("ephemeralContainers") or ()}
    after = {c["name"]: c for c in new["spec"].get("ephemeralContainers") or ()}
    return [
        forbidden("spec.ephemeralContainers", f'existing ephemeral containers "{name}" may not be {what}')
        for name, container in before.items()
        for what in (["removed"] if name not in after else ["changed"] if after[name] != container else [])
    ]
