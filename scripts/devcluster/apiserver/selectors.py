"""Label and field selectors, with the server's words for what it cannot parse."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver import status
from devcluster.apiserver.resources import Resource

Predicate = Callable[[Mapping[str, Any]], bool]
_TOKEN = re.compile(r"\s*(?:(\(|\)|,|!=|==|=|!|>|<)|([^\s(),!=<>]+))")
_WORDS = {"in", "notin"}
_EXPECTED = "in, notin, =, ==, !=, gt, lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label: operator is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Does the set of labels satisfy it?"""
        value = labels.get(self.key)
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        return value is not None and _compares(value, self.operator, next(iter(self.values)))


def _compares(value: str, operator: str, bound: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "gt" else int(value) < int(bound)
    except ValueError:
        return False


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse `a=b,c in (d,e),!f`.

    Raises:
        ApiError: 400 with the parser's message.
    """
    tokens = _tokens(text)
    found: list[Requirement] = []
    while tokens:
        found.append(_requirement(tokens))
        if tokens and tokens.pop(0) != ",":
            raise status.bad_request("unable to parse requirement: expected ','")
    return tuple(found)


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise status.bad_request(f"unable to parse requirement: found '{text[position:]}'")
        tokens.append(match.group(1) or match.group(2))
        position = match.end()
    return tokens


def _requirement(tokens: list[str]) -> Requirement:
    first = tokens.pop(0)
    if first == "!":
        return Requirement(_key(tokens.pop(0) if tokens else ""), "absent")
    key = _key(first)
    if not tokens or tokens[0] == ",":
        return Requirement(key, "exists")
    operator = tokens.pop(0)
    if operator in {"=", "==", "!="}:
        value = tokens.pop(0) if tokens and tokens[0] != "," else ""
        return Requirement(key, "notin" if operator == "!=" else "in", frozenset({value}))
    if operator in {">", "<"} and tokens:
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset({tokens.pop(0)}))
    if operator in _WORDS:
        return Requirement(key, operator, _values(tokens))
    raise status.bad_request(f"unable to parse requirement: found '{operator}', expected: {_EXPECTED}")


def _key(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?", text):
        raise status.bad_request(f"unable to parse requirement: found '{text}', expected: !, identifier, or ','")
    return text


def _values(tokens: list[str]) -> frozenset[str]:
    if not tokens or tokens.pop(0) != "(":
        raise status.bad_request("unable to parse requirement: found '', expected: '('")
    values: set[str] = set()
    while tokens:
        token = tokens.pop(0)
        if token == ")":  # noqa: S105 - a token of the selector language
            return frozenset(values)
        if token != ",":  # noqa: S105 - a token of the selector language
            values.add(token)
    raise status.bad_request("unable to parse requirement: found '', expected: ',', or ')'")


def label_predicate(text: str) -> Predicate | None:
    """A test of objects by their labels; None when everything matches."""
    if not text.strip():
        return None
    requirements = parse_labels(text)

    def matches(obj: Mapping[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(requirement.matches(labels) for requirement in requirements)

    return matches


def selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Does a LabelSelector object match the labels? An absent one matches nothing, an empty one everything."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    return all(
        Requirement(
            expression["key"], operators[expression["operator"]], frozenset(expression.get("values") or ())
        ).matches(labels)
        for expression in selector.get("matchExpressions") or ()
    )


_NAMES = ("metadata.name", "metadata.namespace")
# Fields that each collection can be searched by, beside its names.
_FIELDS: dict[str, tuple[str, ...]] = {
    "/pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    "/nodes": ("spec.unschedulable",),
    "/namespaces": ("status.phase",),
    "/secrets": ("type",),
    "/services": ("spec.clusterIP", "spec.type"),
    "/replicationcontrollers": ("status.replicas",),
    "apps/replicasets": ("status.replicas",),
    "batch/jobs": ("status.successful",),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    ),
}  # fmt: skip


def field_predicate(text: str, resource: Resource) -> Predicate | None:
    """A test of stored objects by a field selector; None when everything matches.

    Raises:
        ApiError: 400 for a field that this resource cannot be searched by.
    """
    terms = [_field_term(term, resource) for term in text.split(",") if term]
    if not terms:
        return None

    def matches(obj: Mapping[str, Any]) -> bool:
        return all((_field(obj, path) == value) is wanted for path, value, wanted in terms)

    return matches


def named(text: str) -> str | None:
    """The one name that a field selector asks for, when it does."""
    for term in text.split(","):
        for operator in ("==", "="):
            if term.startswith("metadata.name" + operator):
                return term.removeprefix("metadata.name" + operator)
    return None


def _field_term(term: str, resource: Resource) -> tuple[str, str, bool]:
    operator = next((known for known in ("!=", "==", "=") if known in term), None)
    if operator is None:
        raise status.bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    path, _, value = term.partition(operator)
    if resource.group == "events.k8s.io":
        path = path.replace("regarding.", "involvedObject.").replace("reportingController", "reportingComponent")
    names = _NAMES if resource.namespaced else _NAMES[:1]
    if path not in names and path not in _FIELDS.get(resource.storage, ()):
        message = f"field label not supported: {path}"
        if resource.storage not in _FIELDS:
            message = f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        raise status.bad_request(message)
    return path, value, operator != "!="


def _field(obj: Mapping[str, Any], path: str) -> str:
    """The field as text, absent as empty (booleans and counts as their zero)."""
    if path == "source":
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.replicas": "0"}.get(path, "")
    return str(value).lower() if isinstance(value, bool) else str(value)
