"""What may be wrong with a pod, named field by field in the server's words."""

from collections.abc import Sequence
from typing import Any

from devcluster.apiserver.names import name_errors, qualified_errors
from devcluster.apiserver.quantity import parse
from devcluster.apiserver.status import Cause

Json = dict[str, Any]
_CHOICES = {
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
}
_STANDARD = {"cpu", "memory", "ephemeral-storage"}
_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")


def required(field: str, detail: str = "") -> Cause:
    """A value is missing."""
    return Cause(field, "Required value" + (f": {detail}" if detail else ""), "FieldValueRequired")


def invalid(field: str, value: Any, why: str) -> Cause:
    """A value is wrong."""
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Cause(field, f"Invalid value: {shown}: {why}")


def unsupported(field: str, value: str, choices: Sequence[str]) -> Cause:
    """A value is none of the choices."""
    listed = ", ".join(f'"{choice}"' for choice in choices)
    return Cause(field, f'Unsupported value: "{value}": supported values: {listed}', "FieldValueNotSupported")


def forbidden(field: str, why: str) -> Cause:
    """A field may not be set, or not so."""
    return Cause(field, f"Forbidden: {why}", "FieldValueForbidden")


def duplicate(field: str, value: str) -> Cause:
    """A value that must be unique comes twice."""
    return Cause(field, f'Duplicate value: "{value}"', "FieldValueDuplicate")


def validate_pod(pod: Json) -> list[Cause]:
    """Everything wrong with a pod's spec."""
    return validate_spec(pod.get("spec") or {}, "spec")


def validate_spec(spec: Json, at: str) -> list[Cause]:
    """Everything wrong with a pod spec, also inside a template."""
    volumes = {volume.get("name", "") for volume in spec.get("volumes") or ()}
    causes = _volumes(spec.get("volumes") or (), f"{at}.volumes")
    causes += _containers(spec.get("containers") or (), f"{at}.containers", volumes)
    if not spec.get("containers"):
        causes.append(required(f"{at}.containers"))
    others = {container.get("name") for container in spec.get("containers") or ()}
    causes += _containers(spec.get("initContainers") or (), f"{at}.initContainers", volumes, taken=others)
    causes += _ephemeral(spec, at)
    for field, choices in _CHOICES.items():
        if spec.get(field) not in choices:
            causes.append(unsupported(f"{at}.{field}", str(spec.get(field)), choices))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        causes.append(invalid(f"{at}.terminationGracePeriodSeconds", spec["terminationGracePeriodSeconds"],
                              "must be greater than or equal to 0"))  # fmt: skip
    causes += _placement(spec, at)
    return causes


def _placement(spec: Json, at: str) -> list[Cause]:
    causes = []
    gates = spec.get("schedulingGates") or ()
    names = [gate.get("name", "") for gate in gates]
    for index, name in enumerate(names):
        causes += [invalid(f"{at}.schedulingGates[{index}]", name, error) for error in qualified_errors(name)]
        if name in names[:index]:
            causes.append(duplicate(f"{at}.schedulingGates[{index}]", name))
    if gates and spec.get("nodeName"):
        causes.append(forbidden(f"{at}.nodeName", "cannot be set until all schedulingGates have been cleared"))
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    selector = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if selector is not None:
        causes += _node_selector(selector, f"{at}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution")
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        if toleration.get("operator") == "Exists" and toleration.get("value"):
            causes.append(invalid(f"{at}.tolerations[{index}].operator", toleration["value"],
                                  "value must be empty when `operator` is 'Exists'"))  # fmt: skip
        if not toleration.get("key") and toleration.get("operator") != "Exists":
            causes.append(invalid(f"{at}.tolerations[{index}].operator", toleration.get("operator", ""),
                                  'operator must be Exists when `key` is empty, which means "match all values and '
                                  'all keys"'))  # fmt: skip
    return causes


def _node_selector(selector: Json, at: str) -> list[Cause]:
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [required(f"{at}.nodeSelectorTerms", "must have at least one node selector term")]
    causes = []
    for index, term in enumerate(terms):
        for number, expression in enumerate(term.get("matchExpressions") or ()):
            field = f"{at}.nodeSelectorTerms[{index}].matchExpressions[{number}]"
            if expression.get("operator") not in _OPERATORS:
                causes.append(
                    invalid(f"{field}.operator", expression.get("operator", ""), "not a valid selector operator")
                )
            if expression.get("operator") in {"In", "NotIn"} and not expression.get("values"):
                causes.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        for number, expression in enumerate(term.get("matchFields") or ()):
            field = f"{at}.nodeSelectorTerms[{index}].matchFields[{number}]"
            if len(expression.get("values") or ()) != 1 and expression.get("operator") in {"In", "NotIn"}:
                wrong = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
                causes.append(required(f"{field}.values", wrong))
            if expression.get("key") != "metadata.name":
                causes.append(invalid(f"{field}.key", expression.get("key", ""), "not a valid field selector key"))
    return causes


def _volumes(volumes: Sequence[Json], at: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        name, field = volume.get("name", ""), f"{at}[{index}]"
        if not name:
            causes.append(required(f"{field}.name"))
        causes += [invalid(f"{field}.name", name, error) for error in name_errors(name, "label") if name]
        if name in seen:
            causes.append(duplicate(f"{field}.name", name))
        seen.add(name)
        sources = [key for key in volume if key != "name"]
        causes += [forbidden(f"{field}.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
        if "hostPath" in volume and not volume["hostPath"].get("path"):
            causes.append(required(f"{field}.hostPath.path"))
        if "hostPath" in volume and ".." in volume["hostPath"].get("path", "").split("/"):
            causes.append(invalid(f"{field}.hostPath.path", volume["hostPath"]["path"], "must not contain '..'"))
    return causes


def _containers(items: Sequence[Json], at: str, volumes: set[str], *, taken: set[Any] | None = None) -> list[Cause]:
    causes: list[Cause] = []
    seen = set(taken or ())
    for index, container in enumerate(items):
        field, name = f"{at}[{index}]", container.get("name", "")
        if not name:
            causes.append(required(f"{field}.name"))
        causes += [invalid(f"{field}.name", name, error) for error in name_errors(name, "label") if name]
        if name in seen:
            causes.append(duplicate(f"{field}.name", name))
        seen.add(name)
        if not container.get("image"):
            causes.append(required(f"{field}.image"))
        causes += _environment(container.get("env") or (), f"{field}.env")
        causes += _mounts(container.get("volumeMounts") or (), f"{field}.volumeMounts", volumes)
        causes += _resources(container.get("resources") or {}, f"{field}.resources")
    return causes


def _ephemeral(spec: Json, at: str) -> list[Cause]:
    causes = []
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        field = f"{at}.ephemeralContainers[{index}]"
        if not container.get("image"):
            causes.append(required(f"{field}.image"))
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            if mount.get("subPath"):
                causes.append(
                    forbidden(f"{field}.volumeMounts[{number}].subPath", "cannot be set for an Ephemeral Container")
                )
        causes += [
            forbidden(f"{field}.{key}", "cannot be set for an Ephemeral Container")
            for key in ("ports", "livenessProbe", "readinessProbe", "lifecycle")
            if container.get(key)
        ]
    return causes


def _environment(variables: Sequence[Json], at: str) -> list[Cause]:
    causes = []
    for index, variable in enumerate(variables):
        if not variable.get("name"):
            causes.append(required(f"{at}[{index}].name"))
        elif "=" in variable["name"]:
            causes.append(invalid(f"{at}[{index}].name", variable["name"], "a valid environment variable name must "
                                  "consist only of printable ASCII characters other than '='"))  # fmt: skip
        if variable.get("value") and variable.get("valueFrom"):
            causes.append(invalid(f"{at}[{index}].valueFrom", "", "may not be specified when `value` is not empty"))
    return causes


def _mounts(mounts: Sequence[Json], at: str, volumes: set[str]) -> list[Cause]:
    causes = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        name, path = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{at}[{index}].name"))
        elif name not in volumes:
            causes.append(Cause(f"{at}[{index}].name", f'Not found: "{name}"', "FieldValueNotFound"))
        if not path:
            causes.append(required(f"{at}[{index}].mountPath"))
        elif path in paths:
            causes.append(invalid(f"{at}[{index}].mountPath", path, "must be unique"))
        paths.add(path)
        if mount.get("subPath", "").startswith("/"):
            causes.append(invalid(f"{at}[{index}].subPath", mount["subPath"], "must be a relative path"))
    return causes


def _resources(resources: Json, at: str) -> list[Cause]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    causes: list[Cause] = []
    for kind, values in (("limits", limits), ("requests", requests)):
        for name, value in values.items():
            causes += _quantity(f"{at}.{kind}[{name}]", name, value)
    for name, value in requests.items():
        limit = limits.get(name)
        extended = _extended(name)
        if limit is None and extended:
            causes.append(required(f"{at}.limits", f"Limit must be set for non overcommitable resources {name}"))
        elif limit is not None and extended and parse(limit) != parse(value):
            causes.append(invalid(f"{at}.requests", value, f"must be equal to {name} limit of {limit}"))
        elif limit is not None and parse(value) > parse(limit):
            causes.append(invalid(f"{at}.requests", value, f"must be less than or equal to {name} limit of {limit}"))
    return causes


def _quantity(field: str, name: str, value: str) -> list[Cause]:
    causes = []
    if name not in _STANDARD and "/" not in name and not name.startswith("hugepages-"):
        causes.append(invalid(field, name, "must be a standard resource for containers"))
    if parse(value) < 0:
        causes.append(invalid(field, value, "must be greater than or equal to 0"))
    if _extended(name) and parse(value).denominator != 1:
        causes.append(invalid(field, value, "must be an integer"))
    return causes


def _extended(name: str) -> bool:
    """A resource outside kubernetes.io: counted in whole units, never overcommitted."""
    return "/" in name and not name.split("/", 1)[0].endswith("kubernetes.io")
