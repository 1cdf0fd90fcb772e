"""Objects of a cluster on which all is well, for the tests of the doctor."""

import base64
from datetime import UTC, datetime, timedelta

from allocator.api import names
from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.cli.doctor.cluster import Cluster
from allocator.cli.doctor.front import POLICIES
from allocator.core.ledger import Ledger, ledger_object
from webhook.pki import make_authority, make_serving, pem

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYSTEM = names.DEFAULT_NAMESPACE
CA = make_authority(now=NOW)
SERVED = make_serving(CA, names=["svc"], lifetime=timedelta(days=365), now=NOW)
GPU = Gpu(uuid="GPU-1", index=0, model="Tesla T4", memory=Memory.mib(1000))
INVENTORY = Inventory(
    node="n1", gpus=(GPU,), driver="580", interposer="/opt/vramshare/lib-1.so", interposer_sha256="aa"
)
GRANT = Grant(
    Allocation(id="g1", node="n1", containers={"c": (Slice("GPU-1", Memory.mib(100), 10),)}),
    "team",
    "p",
    NOW,
    uid="u1",
)


def encoded(text: bytes) -> str:
    """As Secrets and registrations hold it."""
    return base64.b64encode(text).decode()


def thing(name: str, *, namespace: str = "", labels: dict | None = None, **fields) -> dict:
    """An object."""
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}, **fields.pop("meta", {})}
    } | fields


def registration(**client) -> dict:
    """Ours."""
    elsewhere = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", SYSTEM]}
    hook = {
        "name": "pods.vramshare.io",
        "failurePolicy": "Fail",
        "sideEffects": "NoneOnDryRun",
        "namespaceSelector": {"matchExpressions": [elsewhere]},
    }
    return thing("vramshare", webhooks=[{**hook, "clientConfig": {"caBundle": encoded(pem(CA.certificate)), **client}}])


def inventory(found: Inventory) -> dict:
    """A node's inventory."""
    name = names.inventory_name(found.node)
    return thing(name, namespace=SYSTEM, labels={names.KIND_LABEL: names.KIND_INVENTORY}, data=found.to_data())


def ledger(*grants: Grant) -> dict:
    """A node's ledger."""
    return ledger_object(Ledger.from_data("n1", {one.allocation.id: one.to_text() for one in grants}), namespace=SYSTEM)


def pod(name: str = "p", *, uid: str = "u1", grant: str = "g1", **fields) -> dict:
    """A granted pod."""
    annotations = {names.STATUS: names.STATUS_ALLOCATED, names.ALLOCATION_ID: grant} if grant else {}
    meta = {"uid": uid, "annotations": annotations}
    return thing(name, namespace="team", meta=meta, spec={"nodeName": "n1", **fields})


def waiting(minutes: int) -> dict:
    """A pod behind our gate."""
    since = (NOW - timedelta(minutes=minutes)).isoformat()
    meta = {"uid": "u2", "creationTimestamp": since, "annotations": {names.REASON: "needs 9Gi"}}
    return thing("q", namespace="team", meta=meta, spec={"schedulingGates": [{"name": names.GATE}]})


def replica(number: int, node: str) -> dict:
    """A pod of the webhook."""
    labels = {"app.kubernetes.io/name": "vramshare-webhook"}
    return thing(f"w{number}", namespace=SYSTEM, labels=labels, meta={"uid": f"w{number}"}, spec={"nodeName": node})


def deployment(*args: str, ready: int = 2, replicas: int = 2) -> dict:
    """The webhook's."""
    template = {"spec": {"containers": [{"args": ["webhook", *args]}]}}
    spec = {"replicas": replicas, "template": template}
    return thing("vramshare-webhook", namespace=SYSTEM, spec=spec, status={"readyReplicas": ready})


def workload(name: str, image: str = "x") -> dict:
    """Somebody's."""
    return thing(name, namespace="gpu", spec={"template": {"spec": {"containers": [{"image": image}]}}})


def agent_pod(node: str, phase: str) -> dict:
    """An agent's pod of six minutes ago."""
    made = (NOW - timedelta(minutes=6)).isoformat()
    labels = {"app.kubernetes.io/name": "vramshare-agent"}
    found = thing(f"agent-{node}", namespace=SYSTEM, labels=labels, meta={"creationTimestamp": made})
    return {**found, "spec": {"nodeName": node}, "status": {"phase": phase}}


def lease(seconds: int = 5) -> dict:
    """An agent's sign of life."""
    return thing(names.agent_lease_name("n1"), spec={"renewTime": (NOW - timedelta(seconds=seconds)).isoformat()})


TEAM = thing("team", labels={names.INJECT_LABEL: "enabled"})
WELL = Cluster(
    now=NOW,
    namespaces=(thing("kube-system"), TEAM),
    nodes=(thing("n1", labels={"nvidia.com/gpu.present": "true"}), thing("n2")),
    pods=(pod(), replica(1, "n1"), replica(2, "n2")),
    runtime_classes=(thing("nvidia"),),
    registrations=(registration(),),
    policies=tuple(thing(f"vramshare-{one}") for one in POLICIES),
    bindings=tuple(thing(one, spec={"policyName": f"vramshare-{one}"}) for one in POLICIES),
    deployments=(deployment("--runtime-class=nvidia"),),
    configmaps=(inventory(INVENTORY), ledger(GRANT)),
    leases=(lease(),),
    secret={"data": {"tls.crt": encoded(pem(SERVED.certificate))}},
    probe="",
)


def labelled(value: str, *, name: str = "team", **labels: str) -> tuple[dict, ...]:
    """Namespaces, one of them with these labels."""
    return (thing(name, labels={names.INJECT_LABEL: value, **labels}),)
