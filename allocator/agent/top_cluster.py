"""What `vramshare top` shows of a whole cluster: grants from the ledgers, live use from the agents' metrics.

An agent's metrics are read through the API server (`pods/proxy`), so that whoever may look needs a kubeconfig and
nothing else. Who may not, or where agents do not run as pods, sees grants without use, and is told so.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from allocator.agent.top_rows import Row
from allocator.core.picture import NodePicture
from allocator.kube import PODS, Client, KubeError

AGENTS: Final = "app.kubernetes.io/name=vramshare-agent"
PORT: Final = "metrics"
AT_ONCE: Final = 16
"""Agents asked at the same time."""
_PREFIX: Final = "vramshare_container_"
Key = tuple[str, str, str, str]
"""Namespace, pod, container, GPU."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one agent told: figures by slice.

    Attributes:
        at: when, in seconds of any clock that only goes on.
        slices: by namespace, pod, container and GPU, the metrics' values by their names without prefix.
        processes: by namespace, pod and container.
    """

    at: float
    slices: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)
    processes: Mapping[tuple[str, str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Uses:
    """What all agents told.

    Attributes:
        nodes: by node.
        silent: why the others did not, by node.
    """

    nodes: Mapping[str, Use] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


def parsed(text: str, *, at: float) -> Use:
    """Read an agent's metrics; what is none of ours is passed over.

    Raises:
        ValueError: it is no exposition text.
    """
    slices: dict[Key, dict[str, float]] = {}
    processes: dict[tuple[str, str, str], int] = {}
    ours = "\n".join(line for line in text.splitlines() if line.startswith(_PREFIX))
    for sample in (one for family in text_string_to_metric_families(ours + "\n") for one in family.samples):
        labels = sample.labels
        container = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
        name = sample.name.removeprefix(_PREFIX)
        if "gpu" in labels:
            slices.setdefault((*container, labels["gpu"]), {})[name] = sample.value
        elif name == "gpu_processes":
            processes[container] = int(sample.value)
    return Use(at=at, slices=slices, processes=processes)


async def ask(client: Client, namespace: str, *, now: float) -> Uses:
    """Ask every agent that runs as a pod.

    Raises:
        KubeError: not even the agents' pods can be listed.
    """
    pods, _ = await client.list(PODS, namespace=namespace, labels=AGENTS)
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(pod: Mapping[str, Any]) -> tuple[str, Use | str]:
        node, name = (pod.get("spec") or {}).get("nodeName", ""), pod["metadata"]["name"]
        async with turn:
            try:
                path = f"/api/v1/namespaces/{namespace}/pods/{name}:{_port(pod)}/proxy/metrics"
                return node, parsed(await client.text(path), at=now)
            except (KubeError, ValueError) as reason:
                return node, str(reason)

    told = await asyncio.gather(*(one(pod) for pod in pods))
    return Uses(
        nodes={node: found for node, found in told if isinstance(found, Use)},
        silent={node: found for node, found in told if isinstance(found, str)},
    )


def rows(nodes: Iterable[NodePicture], now: Uses, before: Uses) -> list[Row]:
    """A row per slice that is granted."""
    result = []
    for node in nodes:
        use, earlier = now.nodes.get(node.name), before.nodes.get(node.name)
        for gpu in node.gpus:
            for held in gpu.held:
                key = (held.namespace, held.pod, held.container, gpu.uuid)
                row = Row(
                    node=node.name,
                    pod=f"{held.namespace}/{held.pod}",
                    container=held.container,
                    gpu=gpu.uuid,
                    limit=held.memory,
                    cap=held.cores,
                    burst=held.burst,
                    **_live(key, use, earlier),
                )
                result.append(row)
    return result


def remarks(nodes: Sequence[NodePicture], uses: Uses) -> list[str]:
    """What is missing in the picture, and why."""
    if nodes and not uses.nodes and not uses.silent:
        return ["no agent runs as a pod here: grants are shown, live use is not (on a node: vramshare top --local)"]
    found = []
    for reason in dict.fromkeys(uses.silent.values()):
        those = [node for node, one in uses.silent.items() if one == reason]
        named = ", ".join(those[:3]) + (", …" if len(those) > 3 else "")
        found.append(f"no live use from {named}: {reason}")
    return found


def _live(key: Key, now: Use | None, before: Use | None) -> dict[str, Any]:
    """The figures that an agent tells."""
    told = now.slices.get(key) if now else None
    if now is None or told is None:
        return {}
    earlier = before.slices.get(key) if before else None
    passed = now.at - before.at if before else 0.0

    def rate(name: str) -> float | None:
        if earlier is None or passed <= 0 or not told.get(name) or name not in earlier:
            return None
        return max(0.0, told[name] - earlier[name]) * 100 / passed

    used, peak = told.get("memory_used_bytes"), told.get("memory_peak_bytes")
    refused = told.get("memory_refusals_total")
    return {
        "used": None if used is None else int(used),
        "peak": None if peak is None else int(peak),
        "refused": None if refused is None else int(refused),
        "time": rate("gpu_time_seconds_total"),
        "waited": rate("gpu_time_throttled_seconds_total"),
        "processes": now.processes.get(key[:3]),
    }


def _port(pod: Mapping[str, Any]) -> int:
    """Where an agent's metrics are; the API server's proxy takes numbers only."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == PORT:
                return int(port["containerPort"])
    raise ValueError(f"its pod has no port named {PORT}")
