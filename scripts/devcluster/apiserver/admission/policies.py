"""ValidatingAdmissionPolicy: rules in CEL, bound to the writes that they concern."""

from collections.abc import Iterator, Mapping
from typing import Any

from devcluster.apiserver import expressions, status
from devcluster.apiserver.admission import matching, review
from devcluster.apiserver.admission.lifecycle import refusal
from devcluster.apiserver.expressions import CelError
from devcluster.apiserver.machine import Attributes, Machine
from devcluster.apiserver.resources import RESOURCES
from devcluster.apiserver.selectors import selector_matches

Json = dict[str, Any]
_POLICIES = "admissionregistration.k8s.io/validatingadmissionpolicies"
_BINDINGS = "admissionregistration.k8s.io/validatingadmissionpolicybindings"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}


def check(attributes: Attributes, machine: Machine) -> None:
    """Evaluate every bound policy that concerns the write.

    Raises:
        ApiError: the first denial.
    """
    bindings = machine.store.collection(_BINDINGS)
    if not bindings.count(""):
        return
    values: Json | None = None
    for binding in bindings.entries(""):
        spec = binding.obj.get("spec") or {}
        policy = machine.store.collection(_POLICIES).get("", spec.get("policyName", ""))
        if policy is None or not _concerned(policy.obj, spec, attributes, machine):
            continue
        values = values or review.values_of(attributes, machine)
        names = (policy.name, binding.name)
        for params in _params(policy.obj, spec, attributes, machine):
            for message, reason in _failures(policy.obj["spec"], {**values, "params": params}):
                _act(spec.get("validationActions") or (), names, (message, reason), attributes)


def _concerned(policy: Json, binding: Json, attributes: Attributes, machine: Machine) -> bool:
    constraints = policy["spec"].get("matchConstraints") or {}
    narrowed = binding.get("matchResources") or {}
    if not _matches(constraints, attributes, machine):
        return False
    if not narrowed:
        return True
    rules = narrowed.get("resourceRules") or constraints.get("resourceRules")
    return _matches({**narrowed, "resourceRules": rules}, attributes, machine)


def _matches(constraints: Mapping[str, Any], attributes: Attributes, machine: Machine) -> bool:
    hook = {**constraints, "rules": constraints.get("resourceRules") or ()}
    if not matching.concerns(hook, attributes, machine):
        return False
    return not any(matching.rule_matches(rule, attributes) for rule in constraints.get("excludeResourceRules") or ())


def _params(policy: Json, binding: Json, attributes: Attributes, machine: Machine) -> Iterator[Json | None]:
    """The parameter objects that the binding names; one None for a policy without any.

    Raises:
        ApiError: there is none, and the binding says that this denies.
    """
    kind, reference = policy["spec"].get("paramKind"), binding.get("paramRef")
    if not kind or not reference:
        yield None
        return
    resource = next((r for r in RESOURCES if (r.group_version, r.kind) == (kind["apiVersion"], kind["kind"])), None)
    found: list[Json] = []
    if resource is not None:
        namespace = (reference.get("namespace") or attributes.namespace) if resource.namespaced else ""
        name, selector = reference.get("name"), reference.get("selector")
        found = [
            entry.obj
            for entry in machine.collection(resource).entries(namespace)
            if entry.name == name
            or (not name and selector_matches(selector, entry.obj["metadata"].get("labels") or {}))
        ]
    if not found and reference.get("parameterNotFoundAction") != "Allow":
        raise refusal(attributes, "no params found for policy binding with `Deny` parameterNotFoundAction")
    yield from found


def _failures(spec: Json, values: Json) -> Iterator[tuple[str, str]]:
    """Message and reason of every validation that does not hold."""
    ignored = spec.get("failurePolicy") == "Ignore"
    try:
        if not expressions.all_hold(spec.get("matchConditions") or (), values):
            return
    except CelError as error:
        if not ignored:
            yield str(error), "Invalid"
        return
    whole = {**values, "variables": _variables(spec, values)}
    for validation in spec.get("validations") or ():
        try:
            if expressions.evaluate(validation["expression"], whole) is True:
                continue
        except CelError as error:
            if not ignored:
                yield str(error), "Invalid"
            continue
        yield _message(validation, whole), validation.get("reason", "Invalid")


def _variables(spec: Json, values: Json) -> Json:
    """The policy's own variables; one that fails is missed only where it is used."""
    variables: Json = {}
    for declared in spec.get("variables") or ():
        try:
            variables[declared["name"]] = expressions.evaluate(
                declared["expression"], {**values, "variables": variables}
            )
        except CelError:
            continue
    return variables


def _message(validation: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    if validation.get("messageExpression"):
        try:
            text = expressions.evaluate(validation["messageExpression"], values)
        except CelError:
            text = None
        if isinstance(text, str) and text.strip():
            return text
    return str(validation.get("message") or f"failed expression: {validation['expression']}")


def _act(actions: Any, names: tuple[str, str], failure: tuple[str, str], attributes: Attributes) -> None:
    """Deny, warn or note, as the binding says."""
    message, reason = failure
    about = f"ValidatingAdmissionPolicy '{names[0]}' with binding '{names[1]}'"
    if "Audit" in actions:
        attributes.audit["validation.policy.admission.k8s.io/validation_failure"] = f"{about}: {message}"
    if "Warn" in actions:
        attributes.warnings.append(f"Validation failed for {about}: {message}")
    if "Deny" in actions:
        error = refusal(attributes, f"{about} denied request: {message}")
        details = {**(error.details or {}), "causes": [{"message": f"{about} denied request: {message}"}]}
        raise status.ApiError(_CODES.get(reason, 422), reason, error.message, details=details)
