"""How the small kinds are printed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from devcluster.apiserver.tables.base import AGE, NAME, NONE, UNKNOWN, Column, Printer, age, dig, since

Json = Mapping[str, Any]
_CORE = "io.k8s.api.core.v1."


def _simple(columns: Sequence[Column], *values: Any) -> Printer:
    """Name, values and age, in this order."""

    def cells(obj: Json, now: datetime) -> list[Any]:
        return [obj["metadata"]["name"], *(value(obj) for value in values), age(obj, now)]

    return Printer((NAME, *columns, AGE), cells)


def _event(obj: Json, now: datetime) -> list[Any]:
    subject = obj.get("involvedObject") or {}
    last = obj.get("lastTimestamp") or dig(obj, "series", "lastObservedTime") or obj.get("eventTime")
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    source = obj.get("source") or {}
    reporter = ", ".join(
        part for part in (source.get("component") or obj.get("reportingComponent"), source.get("host")) if part
    )
    return [
        since(last or obj["metadata"].get("creationTimestamp"), now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{subject.get('kind', '').lower()}/{subject.get('name', '')}",
        subject.get("fieldPath", ""),
        reporter,
        str(obj.get("message", "")).strip(),
        since(first or obj["metadata"].get("creationTimestamp"), now),
        dig(obj, "series", "count") or obj.get("count") or 1,
        obj["metadata"]["name"],
    ]


_EVENT = (
    Column("Last Seen", (_CORE + "Event", "lastTimestamp")),
    Column("Type", (_CORE + "Event", "type")),
    Column("Reason", (_CORE + "Event", "reason")),
    Column("Object", (_CORE + "Event", "involvedObject")),
    Column("Subobject", (_CORE + "ObjectReference", "fieldPath"), priority=1),
    Column("Source", (_CORE + "Event", "source"), priority=1),
    Column("Message", (_CORE + "Event", "message")),
    Column("First Seen", (_CORE + "Event", "firstTimestamp"), priority=1),
    Column("Count", (_CORE + "Event", "count"), type="integer", priority=1),
    Column("Name", NAME.doc, format="name", priority=1),
)


def _data_count(obj: Json) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


def _service_cells(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    ports = [
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports") or ()
    ]
    external = ",".join(spec.get("externalIPs") or ()) or NONE
    if spec.get("type") == "ExternalName":
        external = spec.get("externalName", "")
    selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
    return [
        obj["metadata"]["name"], spec.get("type", ""), spec.get("clusterIP") or NONE, external,
        ",".join(ports) or NONE, age(obj, now), selector or NONE,
    ]  # fmt: skip


_SERVICE = (
    NAME,
    Column("Type", (_CORE + "ServiceSpec", "type")),
    Column("Cluster-IP", (_CORE + "ServiceSpec", "clusterIP")),
    Column("External-IP", (_CORE + "ServiceSpec", "externalIPs")),
    Column("Port(s)", (_CORE + "ServiceSpec", "ports")),
    AGE,
    Column("Selector", (_CORE + "ServiceSpec", "selector"), priority=1),
)


def _budget(obj: Json) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        spec.get("minAvailable", "N/A"),
        spec.get("maxUnavailable", "N/A"),
        dig(obj, "status", "disruptionsAllowed") or 0,
    ]


def _budget_cells(obj: Json, now: datetime) -> list[Any]:
    return [
        obj["metadata"]["name"],
        *(str(value) if index < 2 else value for index, value in enumerate(_budget(obj))),
        age(obj, now),
    ]


_BUDGET = (
    NAME,
    Column("Min Available", "The minimum number of pods that must be available."),
    Column("Max Unavailable", "The maximum number of pods that may be unavailable."),
    Column("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.", type="integer"),
    AGE,
)


def _quota(obj: Json) -> tuple[str, str]:
    hard, used = dig(obj, "status", "hard") or {}, dig(obj, "status", "used") or {}
    words = [(key, f"{key}: {used.get(key, '0')}/{hard[key]}") for key in sorted(hard)]
    return (
        ", ".join(text for key, text in words if not key.startswith("limits.")),
        ", ".join(text for key, text in words if key.startswith("limits.")),
    )


def _webhooks(obj: Json) -> int:
    return len(obj.get("webhooks") or ())


_WEBHOOKS = Column(
    "Webhooks", "Webhooks indicates the number of webhooks registered in this configuration", type="integer"
)


def _role(obj: Json) -> str:
    return f"{dig(obj, 'roleRef', 'kind')}/{dig(obj, 'roleRef', 'name')}"


def _addresses(obj: Json) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for address in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    ]
    return ",".join(found) or NONE


PRINTERS = {
    "events": Printer(_EVENT, _event),
    "/configmaps": _simple([Column("Data", (_CORE + "ConfigMap", "data"))], lambda o: str(_data_count(o))),
    "/secrets": _simple(
        [Column("Type", (_CORE + "Secret", "type")), Column("Data", (_CORE + "Secret", "data"))],
        lambda o: o.get("type", ""),
        lambda o: str(_data_count(o)),
    ),
    "/namespaces": _simple(
        [Column("Status", "The status of the namespace")], lambda o: dig(o, "status", "phase") or ""
    ),
    "/services": Printer(_SERVICE, _service_cells),
    "/endpoints": _simple([Column("Endpoints", (_CORE + "Endpoints", "subsets"))], _addresses),
    "/resourcequotas": _simple(
        [Column("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
         Column("Limit", "Limits control the maximum amount of cpu/memory that a container may use.")],
        lambda o: _quota(o)[0],
        lambda o: _quota(o)[1],
    ),
    "policy/poddisruptionbudgets": Printer(_BUDGET, _budget_cells),
    "coordination.k8s.io/leases": _simple(
        [Column("Holder", ("io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity"))],
        lambda o: dig(o, "spec", "holderIdentity") or "",
    ),
    "scheduling.k8s.io/priorityclasses": Printer(
        (NAME, Column("Value", "The value of this priority class.", type="integer"),
         Column("Global-Default", "Whether pods without a class get this one.", type="boolean"), AGE,
         Column("PreemptionPolicy", "Whether its pods preempt others.")),
        lambda o, now: [o["metadata"]["name"], o.get("value", 0), bool(o.get("globalDefault")), age(o, now),
                        o.get("preemptionPolicy", "PreemptLowerPriority")],
    ),
    "node.k8s.io/runtimeclasses": _simple(
        [Column("Handler", ("io.k8s.api.node.v1.RuntimeClass", "handler"))], lambda o: o.get("handler", "")
    ),
    "rbac.authorization.k8s.io/rolebindings": _simple(
        [Column("Role", ("io.k8s.api.rbac.v1.RoleBinding", "roleRef"))], _role
    ),
    "rbac.authorization.k8s.io/clusterrolebindings": _simple(
        [Column("Role", ("io.k8s.api.rbac.v1.ClusterRoleBinding", "roleRef"))], _role
    ),
    "admissionregistration.k8s.io/mutatingwebhookconfigurations": _simple(
        [_WEBHOOKS], _webhooks
    ),
    "admissionregistration.k8s.io/validatingwebhookconfigurations": _simple(
        [_WEBHOOKS], _webhooks
    ),
}  # fmt: skip
PLAIN = Printer(
    (NAME, Column("Created At", AGE.doc)),
    lambda o, _now: [o["metadata"]["name"], o["metadata"].get("creationTimestamp", UNKNOWN)],
)
