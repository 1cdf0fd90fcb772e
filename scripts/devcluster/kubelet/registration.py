"""A node's place in the API: its Node object, and the Lease that says it lives."""

import logging
import platform
from collections.abc import Mapping
from typing import Any

from devcluster.client import LEASES, NODES, ApiError, Client
from devcluster.clock import Clock, micro_timestamp, timestamp
from devcluster.informer import FAILURES
from devcluster.nodes import NodeSpec

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
_RENEW_SECONDS = 10.0
_RETRY_SECONDS = 1.0
VERSION = "v1.36.0-devcluster"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)
_log = logging.getLogger(__name__)


def node_object(spec: NodeSpec) -> dict[str, Any]:
    """Return the Node to create."""
    labels = {
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
        **spec.labels,
    }
    taints = {"taints": [dict(taint) for taint in spec.taints]} if spec.taints else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": spec.name, "labels": labels}, "spec": taints}


def node_status(spec: NodeSpec, *, address: str, now: float, runtime: str) -> dict[str, Any]:
    """Return the Node's status: everything that there is can be allocated."""
    kernel = platform.uname()
    times = {"lastHeartbeatTime": timestamp(now), "lastTransitionTime": timestamp(now)}
    return {
        "capacity": spec.resources,
        "allocatable": spec.resources,
        "conditions": [
            {"type": kind, "status": value, "reason": reason, "message": message, **times}
            for kind, value, reason, message in _CONDITIONS
        ],
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": spec.name}],
        "nodeInfo": {
            "machineID": spec.name,
            "systemUUID": spec.name,
            "bootID": spec.name,
            "kernelVersion": kernel.release,
            "osImage": f"{kernel.system} (simulated)",
            "containerRuntimeVersion": f"process://{runtime}",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": _architecture(),
        },
    }


def is_ready(node: Mapping[str, Any]) -> bool:
    """Whether a Node's Ready condition is true."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


class Registration:
    """Registers one node and keeps its Lease fresh."""

    def __init__(self, client: Client, spec: NodeSpec, *, clock: Clock, address: str) -> None:
        self._client = client
        self._spec = spec
        self._clock = clock
        self._address = address
        self._uid = ""
        self._runtime = ""

    async def register(self, *, runtime: str) -> None:
        """Create or take over the Node object and write its status.

        Raises:
            ApiError: the API server refuses the node.
        """
        wanted = node_object(self._spec)
        try:
            made = await self._client.create(NODES.path(), wanted)
        except ApiError as error:
            if error.code != 409:
                raise
            labels = {"metadata": {"labels": wanted["metadata"]["labels"]}}
            made = await self._client.patch(NODES.path(name=self._spec.name), labels)
        self._uid = made["metadata"]["uid"]
        self._runtime = runtime
        await self._write_status()
        await self._renew()

    async def _write_status(self) -> None:
        status = node_status(self._spec, address=self._address, now=self._clock.time(), runtime=self._runtime)
        path = NODES.path(name=self._spec.name, subresource="status")
        await self._client.patch(path, {"status": status}, "strategic")

    async def run(self) -> None:
        """Renew the Lease until cancelled; a node that was given up meanwhile reports that it is back."""
        pause = _RENEW_SECONDS
        while True:
            await self._clock.sleep(pause)
            pause = _RENEW_SECONDS
            try:
                await self._renew()
                node = await self._client.get(NODES.path(name=self._spec.name))
                if not is_ready(node):
                    await self._write_status()
            except FAILURES as error:
                _log.warning("lease of node %s not renewed: %s", self._spec.name, error)
                pause = _RETRY_SECONDS

    async def _renew(self) -> None:
        now = micro_timestamp(self._clock.time())
        spec = {"holderIdentity": self._spec.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        try:
            await self._client.patch(LEASES.path(LEASE_NAMESPACE, self._spec.name), {"spec": spec})
        except ApiError as error:
            if not error.missing:
                raise
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._spec.name, "uid": self._uid}
            meta = {"name": self._spec.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            await self._client.create(LEASES.path(LEASE_NAMESPACE), body)
