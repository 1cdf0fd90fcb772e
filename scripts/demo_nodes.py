"""The nodes of the demo: which GPUs each has, and how a control plane without kubelets is told of them."""

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any, Final, Self

import yaml
from demo_show import Show

HEARTBEAT: Final = 10.0
"""Seconds between the signs of life of a node that has no kubelet."""
_CAPACITY: Final = {"cpu": "16", "memory": "64Gi", "pods": "110"}


@dataclass(frozen=True)
class DemoNode:
    """A node.

    Attributes:
        name: its name.
        model: of its GPUs; empty for the machine's real ones.
        memory: of each, MiB.
        gpus: how many.
        capability: compute capability.
    """

    name: str
    model: str = ""
    memory: int = 0
    gpus: int = 0
    capability: str = ""

    @property
    def real(self) -> bool:
        """Whether its GPUs are this machine's."""
        return not self.model

    def description(self, number: int) -> str:
        """Its GPUs for the simulated driver and for the agent; `number` makes their UUIDs its own."""
        return "\n".join(
            f"[GPU-{number:08x}-0000-4000-8000-{index:012x}]\n"
            f"model = {self.model}\nmemory = {self.memory}Mi\n"
            f"compute_capability = {self.capability}\npci = 0000:{number:02x}:{index:02x}.0\n"
            for index in range(self.gpus)
        )


SIMULATED: Final = (
    DemoNode("node-rtx", "NVIDIA GeForce RTX 3080", memory=10 * 1024, gpus=1, capability="8.6"),
    DemoNode("node-t4", "Tesla T4", memory=16 * 1024, gpus=4, capability="7.5"),
    DemoNode("node-l40s", "NVIDIA L40S", memory=48 * 1024, gpus=2, capability="8.9"),
)
REAL: Final = DemoNode("node-real")


def write_descriptions(folder: Path) -> dict[str, Path]:
    """A `gpus.ini` per simulated node; their paths by node."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for number, node in enumerate(SIMULATED, start=1):
        paths[node.name] = folder / f"{node.name}.ini"
        paths[node.name].write_text(node.description(number))
    return paths


def write_cluster(file: Path, nodes: tuple[DemoNode, ...], descriptions: dict[str, Path]) -> None:
    """The description of the nodes that the embedded cluster reads."""
    entries = [
        {"name": node.name, "capacity": _CAPACITY, "gpus": "real" if node.real else str(descriptions[node.name])}
        for node in nodes
    ]
    file.write_text(yaml.safe_dump(entries, sort_keys=False))


class Hollow:
    """Nodes without kubelets on a control plane that has none of ours: objects, kept alive by heartbeats."""

    def __init__(self, show: Show, nodes: tuple[DemoNode, ...], folder: Path) -> None:
        self._show = show
        self._nodes = nodes
        self._folder = folder
        self._end = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="heartbeats", daemon=True)

    def __enter__(self) -> Self:
        objects = [_node_object(node) for node in self._nodes]
        file = self._folder / "simulated-nodes.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        self._show.run(f"kubectl apply -f {quote(str(file))}")
        for node in self._nodes:
            status = json.dumps({"status": _status()})
            self._show.text(f"kubectl patch node {node.name} --subresource=status --type=merge -p '{status}'")
            # Admission taints a new node as not ready; a controller, if there is one, would take that back.
            self._show.text(f"""kubectl patch node {node.name} --type=merge -p '{{"spec":{{"taints":null}}}}'""")
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._beats.join()
        self._show.text(f"kubectl delete node {' '.join(node.name for node in self._nodes)} --wait=false")

    def _beat(self) -> None:
        while not self._end.is_set():
            leases = [_lease_object(node) for node in self._nodes]
            file = self._folder / "leases.yaml"
            file.write_text(yaml.safe_dump_all(leases))
            self._show.text(f"kubectl apply -f {quote(str(file))}")
            self._end.wait(HEARTBEAT)


def _node_object(node: DemoNode) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "vramshare.io/demo": "true"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}}


def _status() -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": "Demo", "message": "a node without a kubelet"}
    return {"capacity": _CAPACITY, "allocatable": _CAPACITY, "conditions": [ready]}


def _lease_object(node: DemoNode) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node.name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": now},
    }
