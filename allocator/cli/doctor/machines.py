"""Checks of GPU nodes: agents, drivers, how GPUs reach containers, the interposer, proven isolation."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from allocator.api import names
from allocator.api.inventory import Strategy
from allocator.api.isolation import Isolation
from allocator.cli.doctor.cluster import Cluster
from allocator.cli.doctor.finding import Check, Json, Trouble, labels_of, name_of, namespace_of, some, warning
from allocator.core.listing import AGENT_SILENT

_GPU_LABELS: Final = ("nvidia.com/gpu.present", "cloud.google.com/gke-accelerator", "k8s.amazonaws.com/accelerator")
"""By which clusters say that a node has a GPU: GPU feature discovery, GKE, EKS."""
_AGENT: Final = "vramshare-agent"
_LONG: Final = timedelta(minutes=5)
"""An image is pulled in less."""


def _agents(cluster: Cluster) -> Iterator[Trouble]:
    """Every GPU node has an agent that lives."""
    signs = {name_of(one): (one.get("spec") or {}).get("renewTime") for one in cluster.leases}
    gpu_nodes = {name_of(one) for one in cluster.nodes if _has_gpus(one)} | set(cluster.inventories)
    if not gpu_nodes:
        yield Trouble("no node has a GPU that vramshare knows of", _agent_pods(cluster))
    present = {name_of(one) for one in cluster.nodes}
    for node in sorted(gpu_nodes):
        silent = _age(signs.get(names.agent_lease_name(node)), cluster.now)
        logs = f"kubectl -n {cluster.system} logs -l app.kubernetes.io/name=vramshare-agent --prefix --tail=50"
        if node not in present:
            remedy = f"kubectl -n {cluster.system} delete configmap {names.inventory_name(node)}"
            yield warning(f"node {node} is gone and its inventory is not", remedy)
        elif node not in cluster.inventories:
            yield Trouble(f"GPU node {node} has no inventory: no agent runs there", _agent_pods(cluster))
        elif silent is None:
            yield Trouble(f"the agent of node {node} has never given a sign of life", logs)
        elif silent > AGENT_SILENT:
            yield Trouble(f"the agent of node {node} has been silent for {silent:.0f} s: no new grants there", logs)
    if waiting := sorted(_waiting(cluster)):
        problem = f"for {_LONG.seconds // 60} minutes agents have not started on {some(waiting)}"
        remedy = f"kubectl -n {cluster.system} describe pods -l app.kubernetes.io/name=vramshare-agent"
        advice = "where a node has no GPU: take manifests/components/labelled-gpu-nodes into your kustomization"
        yield warning(problem, f"{remedy}; {advice}")
    for name in cluster.unreadable_inventories:
        yield Trouble(f"inventory {name} cannot be read", f"kubectl -n {cluster.system} describe configmap {name}")


def _drivers(cluster: Cluster) -> Iterator[Trouble]:
    """Agents see a driver and healthy GPUs."""
    for node, found in sorted(cluster.inventories.items()):
        describe = f"kubectl -n {cluster.system} describe configmap {names.inventory_name(node)}"
        if not found.driver:
            why = f": {found.reason}" if found.reason else ""
            yield Trouble(f"the agent of node {node} sees no NVIDIA driver{why}", describe)
        elif not found.gpus:
            yield Trouble(f"the agent of node {node} sees no GPU", describe)
        for gpu in found.gpus:
            if not gpu.healthy:
                yield warning(f"{gpu.uuid} of node {node} takes no new grants: {gpu.health}", describe)


def _strategies(cluster: Cluster) -> Iterator[Trouble]:
    """GPUs can reach containers on every node."""
    for node, found in sorted(cluster.inventories.items()):
        if found.strategy is Strategy.NONE or (found.reason and found.driver):
            describe = f"kubectl -n {cluster.system} describe configmap {names.inventory_name(node)}"
            why = found.reason or "no way is known by which a GPU reaches a container there"
            yield Trouble(f"node {node} takes no grants: {why}", describe)


def _runtime_classes(cluster: Cluster) -> Iterator[Trouble]:
    """The RuntimeClass that the webhook gives to GPU pods exists."""
    wanted = _runtime_class(cluster)
    present = {name_of(one) for one in cluster.runtime_classes}
    if wanted and wanted not in present:
        remedy = "install the NVIDIA container toolkit's RuntimeClass, or take --runtime-class from the webhook"
        yield Trouble(f"RuntimeClass {wanted}, which GPU pods get, does not exist: they are refused", remedy)


def _runtime_class(cluster: Cluster) -> str:
    template = ((cluster.webhook or {}).get("spec") or {}).get("template") or {}
    found = (template.get("spec") or {}).get("containers") or ()
    args = [arg for one in found for arg in one.get("args") or ()]
    variables = [one for container in found for one in container.get("env") or ()]
    flags = [arg.partition("=")[2] for arg in args if arg.startswith("--runtime-class=")]
    values = [one.get("value", "") for one in variables if one.get("name") == "VRAMSHARE_WEBHOOK_RUNTIME_CLASS"]
    return str((*flags, *values, "")[0])


def _interposers(cluster: Cluster) -> Iterator[Trouble]:
    """One interposer on all nodes."""
    by_hash: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node, found in sorted(cluster.inventories.items()):
        if found.interposer:
            by_hash[found.interposer, found.interposer_sha256].append(node)
        elif found.driver:
            why = found.reason or "its agent has not installed it yet"
            yield Trouble(f"node {node} has no interposer: {why}", _agent_pods(cluster))
    if len(by_hash) > 1:
        told = "; ".join(f"{path} on {some(nodes)}" for (path, _), nodes in sorted(by_hash.items()))
        remedy = f"kubectl -n {cluster.system} rollout status daemonset vramshare-agent"
        yield warning(f"nodes have different interposers (an upgrade under way?): {told}", remedy)


def _isolation(cluster: Cluster) -> Iterator[Trouble]:
    """What agents have found of containers that are not behind their wall."""
    for node, found in sorted(cluster.inventories.items()):
        for one in found.findings:
            namespace, _, pod = one.pod.partition("/")
            remedy = f"kubectl -n {namespace} delete pod {pod}" if pod else ""
            told = f"container {one.container} of {one.pod} on {node}: {one.state}: {one.reason}"
            yield Trouble(told, remedy) if one.state is Isolation.VIOLATED else warning(told)


def _waiting(cluster: Cluster) -> Iterator[str]:
    """The nodes on which an agent's pod has been Pending for long: an image or a runtime is missing there."""
    for one in cluster.pods:
        ours = namespace_of(one) == cluster.system and labels_of(one).get("app.kubernetes.io/name") == _AGENT
        age = _age((one.get("metadata") or {}).get("creationTimestamp"), cluster.now)
        pending = (one.get("status") or {}).get("phase") == "Pending"
        if ours and pending and age is not None and age > _LONG.total_seconds():
            yield str((one.get("spec") or {}).get("nodeName") or "no node")


def _has_gpus(node: Json) -> bool:
    """Whether the cluster says that a node has an NVIDIA GPU."""
    capacity = (node.get("status") or {}).get("capacity") or {}
    labels = labels_of(node)
    told = any(labels.get(name, "false") != "false" for name in _GPU_LABELS)
    return told or str(capacity.get(names.HAMI_GPU, "0")) != "0"


def _agent_pods(cluster: Cluster) -> str:
    return f"kubectl -n {cluster.system} get pods -l app.kubernetes.io/name=vramshare-agent -o wide"


def _age(stamp: str | None, now: datetime) -> float | None:
    try:
        return (now - datetime.fromisoformat(stamp or "")).total_seconds()
    except (TypeError, ValueError):
        return None


def _gpus(cluster: Cluster) -> str:
    count = sum(len(one.gpus) for one in cluster.inventories.values())
    return f"{count} GPUs on {len(cluster.inventories)} nodes, all healthy"


CHECKS: Final = (
    Check(
        "agents",
        ("nodes", "configmaps", "leases", "pods"),
        _agents,
        lambda one: f"alive on all {len(one.inventories)} GPU nodes",
    ),
    Check("drivers", ("configmaps",), _drivers, _gpus),
    Check("injection", ("configmaps",), _strategies, lambda _: "GPUs reach containers on every node"),
    Check(
        "runtime-class",
        ("runtime_classes", "deployments"),
        _runtime_classes,
        lambda one: f"{_runtime_class(one)} exists" if _runtime_class(one) else "none is asked for",
    ),
    Check("interposer", ("configmaps",), _interposers, lambda _: "the same on every node"),
    Check("isolation", ("configmaps",), _isolation, lambda _: "no agent has found a container outside its wall"),
)
