"""Which webhooks a write concerns: rules, namespace and object selectors."""

from collections.abc import Mapping
from typing import Any

from devcluster.apiserver.machine import Attributes, Machine
from devcluster.apiserver.selectors import selector_matches

Json = dict[str, Any]
_EXEMPT = "admissionregistration.k8s.io"


def concerns(hook: Mapping[str, Any], attributes: Attributes, machine: Machine) -> bool:
    """Must this webhook be asked?"""
    if attributes.resource.group == _EXEMPT:
        return False
    return (
        any(rule_matches(rule, attributes) for rule in hook.get("rules") or ())
        and _namespace_matches(hook.get("namespaceSelector") or {}, attributes, machine)
        and _object_matches(hook.get("objectSelector") or {}, attributes)
    )


def rule_matches(rule: Mapping[str, Any], attributes: Attributes) -> bool:
    """Does the rule name this operation on this resource?"""
    resource = attributes.resource
    scope = rule.get("scope", "*")
    if scope != "*" and (scope == "Namespaced") is not resource.namespaced:
        return False
    return (
        _in(attributes.operation, rule.get("operations"))
        and _in(resource.group, rule.get("apiGroups"))
        and _in(resource.version, rule.get("apiVersions"))
        and any(_resource_matches(pattern, attributes) for pattern in rule.get("resources") or ())
    )


def _in(value: str, allowed: list[str] | None) -> bool:
    return "*" in (allowed or ()) or value in (allowed or ())


def _resource_matches(pattern: str, attributes: Attributes) -> bool:
    """`pods`, `pods/binding`, `pods/*`, `*`, `*/*`, `*/status`."""
    wanted, slash, sub = pattern.partition("/")
    if wanted not in {"*", attributes.resource.plural}:
        return False
    if not slash:
        return not attributes.sub
    return sub in {"*", attributes.sub}


def _namespace_matches(selector: Mapping[str, Any], attributes: Attributes, machine: Machine) -> bool:
    if not selector:
        return True
    if attributes.resource.storage == "/namespaces":
        labels = _labels(attributes.obj) or _labels(attributes.old)
        return selector_matches(selector, labels)
    if not attributes.resource.namespaced:
        return True
    namespace = machine.store.collection("/namespaces").get("", attributes.namespace)
    return selector_matches(selector, _labels(namespace.obj if namespace else None))


def _object_matches(selector: Mapping[str, Any], attributes: Attributes) -> bool:
    if not selector:
        return True
    objects = [obj for obj in (attributes.obj, attributes.old) if obj is not None]
    return any(selector_matches(selector, _labels(obj)) for obj in objects)


def _labels(obj: Json | None) -> Mapping[str, str]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}
