"""DaemonSets: one pod on every node that takes it."""

from devcluster.client import DAEMON_SETS, NODES, PODS
from devcluster.controllers.pods import PodControl, from_template, is_active, owner_of_events, ready_since
from devcluster.controllers.rollout import template_hash
from devcluster.controllers.shared import Shared, owned_by, owner_key, owner_reference
from devcluster.controllers.workqueue import WorkQueue
from devcluster.informer import Key, Object, key_of
from devcluster.scheduler.predicates import named_nodes, wants_node
from devcluster.selectors import tolerates

_KIND = {"api_version": "apps/v1", "kind": "DaemonSet"}
_HASH = "controller-revision-hash"
_TOLERATIONS = [
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
]


class DaemonSets:
    """The controller of DaemonSets."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sets = shared.informer(DAEMON_SETS)
        self._pods = shared.informer(PODS)
        self._nodes = shared.informer(NODES)
        self._control = PodControl(shared, shared.recorder("daemonset-controller"))
        self.queue = WorkQueue("daemonset", self.reconcile, clock=shared.clock)
        self._sets.on_change(lambda before, after: self.queue.add(key_of(after or before or {})))
        self._pods.on_change(self._on_pod)
        self._nodes.on_change(self._on_node)

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        key = owner_key(after or before or {}, "DaemonSet")
        if key is not None:
            self.queue.add(key)

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        if before is None or after is None or _traits(before) != _traits(after):
            for key in self._sets.items:
                self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Create and delete pods until every eligible node has one of the present template."""
        daemon_set = self._sets.items.get(key)
        if daemon_set is None:
            return
        if not daemon_set["metadata"].get("deletionTimestamp"):
            await self._converge(daemon_set)
        await self._write_status(key, daemon_set)

    async def _converge(self, daemon_set: Object) -> None:
        eligible = self._eligible(daemon_set)
        ours = owned_by(self._pods, daemon_set)
        present = {_node_of(pod): pod for pod in ours if is_active(pod)}
        missing = sorted(eligible - {_node_of(pod) for pod in ours})
        owner = owner_of_events(daemon_set, **_KIND)
        await self._control.create([_pod(daemon_set, node) for node in missing], owner)
        surplus = [pod for node, pod in present.items() if node not in eligible]
        ended = [pod for pod in ours if (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}]
        await self._control.delete([*surplus, *ended], owner)
        await self._control.delete(_outdated(daemon_set, present), owner)

    def _eligible(self, daemon_set: Object) -> set[str]:
        spec = daemon_set["spec"]["template"]["spec"]
        tolerations = [*(spec.get("tolerations") or []), *_TOLERATIONS]
        found = set()
        for node in self._nodes.items.values():
            taints = (node.get("spec") or {}).get("taints") or []
            hard = [taint for taint in taints if taint["effect"] != "PreferNoSchedule"]
            if wants_node(spec, node) and all(tolerates(tolerations, taint) for taint in hard):
                found.add(node["metadata"]["name"])
        return found

    async def _write_status(self, key: Key, daemon_set: Object) -> None:
        eligible = self._eligible(daemon_set)
        pods = [pod for pod in owned_by(self._pods, daemon_set) if is_active(pod)]
        ready = sum(ready_since(pod) is not None for pod in pods)
        current = template_hash(daemon_set["spec"]["template"])
        status = {
            "currentNumberScheduled": len({_node_of(pod) for pod in pods} & eligible),
            "desiredNumberScheduled": len(eligible),
            "numberMisscheduled": 0,
            "numberReady": ready,
            "numberAvailable": ready,
            "numberUnavailable": max(0, len(eligible) - ready),
            "updatedNumberScheduled": sum(pod["metadata"]["labels"].get(_HASH) == current for pod in pods),
            "observedGeneration": daemon_set["metadata"].get("generation", 1),
        }
        present = daemon_set.get("status") or {}
        if any((present.get(name) or 0) != value for name, value in status.items()):
            await self._shared.client.patch(DAEMON_SETS.path(*key, subresource="status"), {"status": status})


def _pod(daemon_set: Object, node: str) -> Object:
    link = owner_reference(daemon_set, **_KIND)
    template = daemon_set["spec"]["template"]
    pod = from_template(template, link, prefix=daemon_set["metadata"]["name"])
    pod["metadata"].setdefault("labels", {})[_HASH] = template_hash(template)
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = pod["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
    pod["spec"]["tolerations"] = [*(pod["spec"].get("tolerations") or []), *_TOLERATIONS]
    return pod


def _node_of(pod: Object) -> str:
    """Return the node that a daemon pod is meant for, bound or not."""
    named = named_nodes(pod["spec"]) or set()
    return str(pod["spec"].get("nodeName") or next(iter(named), ""))


def _outdated(daemon_set: Object, present: dict[str, Object]) -> list[Object]:
    """Return the pods of an old template to delete now: one at a time, and none while another is not ready."""
    if (daemon_set["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return []
    current = template_hash(daemon_set["spec"]["template"])
    old = [pod for _, pod in sorted(present.items()) if pod["metadata"]["labels"].get(_HASH) != current]
    broken = [pod for pod in old if ready_since(pod) is None]
    if broken:
        return broken
    return old[:1] if all(ready_since(pod) is not None for pod in present.values()) else []


def _traits(node: Object) -> tuple[object, object]:
    return node["metadata"].get("labels"), (node.get("spec") or {}).get("taints")
