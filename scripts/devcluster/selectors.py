"""Which objects a selector means: label selectors, node selectors, taints. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any


def labels_match(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a LabelSelector (matchLabels, matchExpressions) selects ``labels``. None selects nothing."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    return all(_holds(term, labels) for term in selector.get("matchExpressions") or [])


def node_matches(selector: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Tell whether a NodeSelector selects ``node``: its terms are alternatives, an empty term selects nothing."""
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(_term_matches(term, labels=labels, fields=fields) for term in selector.get("nodeSelectorTerms") or [])


def _term_matches(term: Mapping[str, Any], *, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    expressions, by_field = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not by_field:
        return False
    return all(_holds(each, labels) for each in expressions) and all(_holds(each, fields) for each in by_field)


def _holds(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    key, operator, wanted = expression["key"], expression["operator"], expression.get("values") or []
    present = key in values
    if operator == "In":
        return present and values[key] in wanted
    if operator == "NotIn":
        return not present or values[key] not in wanted
    if operator in {"Exists", "DoesNotExist"}:
        return present is (operator == "Exists")
    return present and _compares(values[key], operator, wanted)


def _compares(value: str, operator: str, wanted: Sequence[str]) -> bool:
    try:
        number, bound = int(value), int(wanted[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else number < bound


def tolerates(tolerations: Sequence[Mapping[str, Any]], taint: Mapping[str, str]) -> bool:
    """Tell whether one of ``tolerations`` accepts ``taint``."""
    return any(_tolerates(each, taint) for each in tolerations)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")
