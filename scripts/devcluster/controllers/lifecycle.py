"""Nodes that fall silent, and pods whose node is gone.

A node whose Lease is not renewed becomes NotReady and tainted; the taints go when its kubelet is back. Pods of a node
that was deleted are deleted by force after a while. Eviction from unreachable nodes is not simulated.
"""

import asyncio
import logging
from typing import Any

from devcluster.client import LEASES, NODES, PODS, ApiError
from devcluster.clock import parse_timestamp, timestamp
from devcluster.controllers.shared import Shared
from devcluster.informer import FAILURES, Object, key_of
from devcluster.kubelet.registration import LEASE_NAMESPACE, LEASE_SECONDS

_ROUND_SECONDS = 5.0
_QUARANTINE_SECONDS = 40.0
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
_log = logging.getLogger(__name__)


class NodeLifecycle:
    """The controller of node health."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._nodes = shared.informer(NODES)
        self._leases = shared.informer(LEASES)
        self._pods = shared.informer(PODS)
        self._orphaned_since: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._nodes.on_change(self._notice)

    def _notice(self, _before: Object | None, after: Object | None) -> None:
        """A node whose taints belie its health is seen to at once: pods may be waiting for it."""
        if after is not None and health_taints(after, silent=False, now=0) is not None:
            self._changed.set()

    async def run(self) -> None:
        """Look after all nodes every few seconds, and when one's health changes, until cancelled."""
        while True:
            self._changed.clear()
            await self.round()
            await self._pause()

    async def _pause(self) -> None:
        """Until the next round is due, or a node's health has changed."""
        reasons = [
            asyncio.ensure_future(self._shared.clock.sleep(_ROUND_SECONDS)),
            asyncio.ensure_future(self._changed.wait()),
        ]
        try:
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for reason in reasons:
                reason.cancel()

    async def round(self) -> None:
        """Look after all nodes once."""
        now = self._shared.clock.time()
        await asyncio.gather(*(self._attend(node, now) for node in list(self._nodes.items.values())))
        await self._collect_pods(now)

    async def _attend(self, node: Object, now: float) -> None:
        lease = self._leases.items.get((LEASE_NAMESPACE, node["metadata"]["name"]))
        renewed = (lease or {}).get("spec", {}).get("renewTime") or node["metadata"]["creationTimestamp"]
        silent = now - parse_timestamp(renewed) > LEASE_SECONDS
        path = NODES.path(name=node["metadata"]["name"])
        try:
            if silent and ready_status(node) != "Unknown":
                await self._shared.client.patch(f"{path}/status", {"status": _unknown(now)}, "strategic")
            wanted = health_taints(node, silent=silent, now=now)
            if wanted is not None:
                await self._shared.client.patch(path, {"spec": {"taints": wanted or None}})
        except FAILURES as error:
            _log.info("node %s not updated: %s", node["metadata"]["name"], error)

    async def _collect_pods(self, now: float) -> None:
        orphans = {}
        for pod in list(self._pods.items.values()):
            name = pod["spec"].get("nodeName")
            if name and ("", name) not in self._nodes.items:
                orphans[pod["metadata"]["uid"]] = pod
        self._orphaned_since = {uid: self._orphaned_since.get(uid, now) for uid in orphans}
        for uid, pod in orphans.items():
            if now - self._orphaned_since[uid] >= _QUARANTINE_SECONDS:
                await self._delete(pod)

    async def _delete(self, pod: Object) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        try:
            await self._shared.client.delete(PODS.path(*key_of(pod)), options)
        except FAILURES as error:
            if not (isinstance(error, ApiError) and error.missing):
                _log.info("pod %s of a lost node not deleted: %s", "/".join(key_of(pod)), error)


def ready_status(node: Object) -> str:
    """Return the status of the node's Ready condition; Unknown if there is none."""
    for condition in (node.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready":
            return str(condition["status"])
    return "Unknown"


def health_taints(node: Object, *, silent: bool, now: float) -> list[dict[str, Any]] | None:
    """Return the node's taints as its health wants them; None if they are right."""
    taints = (node.get("spec") or {}).get("taints") or []
    status = "Unknown" if silent else ready_status(node)
    key = {"Unknown": UNREACHABLE, "False": NOT_READY}.get(status)
    present = {(taint["key"], taint["effect"]) for taint in taints if taint["key"] in {UNREACHABLE, NOT_READY}}
    wanted = {(key, effect) for effect in ("NoSchedule", "NoExecute")} if key else set()
    if present == wanted:
        return None
    others = [taint for taint in taints if taint["key"] not in {UNREACHABLE, NOT_READY}]
    added = [{"key": name, "effect": effect, "timeAdded": timestamp(now)} for name, effect in sorted(wanted)]
    return others + added


def _unknown(now: float) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": timestamp(now),
    }
    return {"conditions": [condition]}
