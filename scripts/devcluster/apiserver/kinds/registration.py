"""Defaults and validation of webhook configurations, policies, roles and classes."""

from collections.abc import Sequence
from typing import Any

from devcluster.apiserver import expressions
from devcluster.apiserver.kinds.pod_validation import forbidden, invalid, required, unsupported
from devcluster.apiserver.status import Cause

Json = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"


def default_webhooks(obj: Json) -> None:
    """Every webhook of a configuration."""
    for hook in obj.get("webhooks", ()):
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        hook.setdefault("timeoutSeconds", 10)
        if obj["kind"] == "MutatingWebhookConfiguration":
            hook.setdefault("reinvocationPolicy", "Never")
        for rule in hook.get("rules", ()):
            rule.setdefault("scope", "*")
        service = (hook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def validate_webhooks(obj: Json) -> list[Cause]:
    """Names are unique, side effects are said, and there is exactly one way to reach each webhook."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks", ())):
        at, name = f"webhooks[{index}]", hook.get("name", "")
        if not name:
            causes.append(required(f"{at}.name"))
        elif name.count(".") < 2:
            wrong = "should be a domain with at least three segments separated by dots"
            causes.append(invalid(f"{at}.name", name, wrong))
        if name in names:
            causes.append(Cause(f"{at}.name", f'Duplicate value: "{name}"', "FieldValueDuplicate"))
        names.add(name)
        if hook.get("sideEffects") not in {"None", "NoneOnDryRun"}:
            causes.append(unsupported(f"{at}.sideEffects", str(hook.get("sideEffects", "")), ("None", "NoneOnDryRun")))
        if "v1" not in hook.get("admissionReviewVersions", ()):
            wrong = "must include at least one of v1, v1beta1"
            causes.append(invalid(f"{at}.admissionReviewVersions", "", wrong))
        if not 1 <= hook["timeoutSeconds"] <= 30:
            wrong = "the timeout value must be between 1 and 30 seconds"
            causes.append(invalid(f"{at}.timeoutSeconds", hook["timeoutSeconds"], wrong))
        causes += check_expressions(hook.get("matchConditions") or (), f"{at}.matchConditions")
        causes += _client(hook.get("clientConfig") or {}, f"{at}.clientConfig")
    return causes


def _client(config: Json, at: str) -> list[Cause]:
    url = config.get("url")
    if (url is None) is (config.get("service") is None):
        return [required(at, "exactly one of url or service is required")]
    if url is not None and not url.startswith("https://"):
        wrong = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
        return [invalid(f"{at}.url", url.split("://", 1)[0], wrong)]
    return []


def check_expressions(items: Sequence[Json], at: str, *keys: str) -> list[Cause]:
    """Expressions that do not compile here."""
    return [
        invalid(f"{at}[{index}].{key}", item[key], wrong)
        for index, item in enumerate(items)
        for key in keys or ("expression",)
        if item.get(key) and (wrong := expressions.check(item[key]))
    ]


def validate_policy(obj: Json) -> list[Cause]:
    """A policy says what it concerns, and its expressions compile."""
    spec = obj["spec"]
    causes = (
        []
        if (spec.get("matchConstraints") or {}).get("resourceRules")
        else [required("spec.matchConstraints.resourceRules")]
    )
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        causes.append(required("spec.validations", "validations or auditAnnotations must contain at least one item"))
    causes += check_expressions(spec.get("matchConditions") or (), "spec.matchConditions")
    causes += check_expressions(spec.get("variables") or (), "spec.variables")
    return causes + check_expressions(
        spec.get("validations") or (), "spec.validations", "expression", "messageExpression"
    )


def validate_policy_binding(obj: Json) -> list[Cause]:
    """A binding names its policy and says what a failure does."""
    spec = obj.get("spec") or {}
    causes = [] if spec.get("policyName") else [required("spec.policyName")]
    return causes if spec.get("validationActions") else [*causes, required("spec.validationActions")]


def default_policy(obj: Json) -> None:
    """ValidatingAdmissionPolicy."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _default_match(spec.get("matchConstraints"))


def default_policy_binding(obj: Json) -> None:
    """ValidatingAdmissionPolicyBinding."""
    _default_match((obj.get("spec") or {}).get("matchResources"))


def _default_match(match: Json | None) -> None:
    if match is None:
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for rule in [*match.get("resourceRules", ()), *match.get("excludeResourceRules", ())]:
        rule.setdefault("scope", "*")


def default_role_binding(obj: Json) -> None:
    """Groups of subjects and role, where left out."""
    if isinstance(obj.get("roleRef"), dict):
        obj["roleRef"].setdefault("apiGroup", _RBAC)
    for subject in obj.get("subjects", ()):
        if subject.get("kind") in {"User", "Group"}:
            subject.setdefault("apiGroup", _RBAC)


def validate_role_binding(obj: Json) -> list[Cause]:
    """A binding names a role."""
    return [] if (obj.get("roleRef") or {}).get("name") else [required("roleRef.name")]


def validate_role_kept(new: Json, old: Json) -> list[Cause]:
    """The role of a binding cannot change."""
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [Cause("roleRef", f"Invalid value: {new.get('roleRef')}: cannot change roleRef")]


def default_priority_class(obj: Json) -> None:
    """It preempts unless said."""
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
    obj.setdefault("value", 0)


def validate_value_kept(new: Json, old: Json) -> list[Cause]:
    """The value of a priority class cannot change."""
    if new.get("value") == old.get("value"):
        return []
    return [forbidden("value", "may not be changed in an update.")]


def validate_runtime_class(obj: Json) -> list[Cause]:
    """A runtime class has a handler."""
    return [] if obj.get("handler") else [required("handler")]


def default_storage_class(obj: Json) -> None:
    """Volumes are deleted with their claims, and bound at once, unless said."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")
