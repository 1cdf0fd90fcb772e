"""The cluster as one scrape tells it: capacity, allocations and the queue, read off at one moment.

Only the leader tells of GPUs, nodes and namespaces. So each series exists once, and sums over them need no care
about replicas.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from allocator.api.allocation import Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu
from allocator.controller.world import World
from allocator.core.fragmentation import Fragmentation, by_gpu, by_model
from allocator.core.queue import Waiting
from allocator.core.quota import NONE, Amount, Quota
from allocator.core.state import FULL_TIME, NodeState

_GPU: Final = ("node", "gpu", "model")
_NAMESPACE: Final = ("namespace",)
_TEXTS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "vramshare_model_gpus": ("GPUs of a model that take grants.", ("model",)),
    "vramshare_model_free_gpus": ("What is free of the GPUs of a model, in GPUs.", ("model",)),
    "vramshare_model_stranded_gpus": ("What is free of them and of no use to the usual pods, in GPUs.", ("model",)),
    "vramshare_gpu_memory_capacity_bytes": ("What grants on a GPU may add up to.", _GPU),
    "vramshare_gpu_memory_allocated_bytes": ("What grants on a GPU do add up to.", _GPU),
    "vramshare_gpu_memory_foreign_bytes": ("What others than vramshare's pods hold of a GPU, as its agent says.", _GPU),
    "vramshare_gpu_cores_allocated_ratio": ("GPU time that grants reserve, 1 being all of it.", _GPU),
    "vramshare_gpu_stranded_ratio": ("Part of a GPU that is free and of no use to the usual pods.", _GPU),
    "vramshare_gpu_slices_allocated": ("Slices granted on a GPU.", _GPU),
    "vramshare_node_open": ("1 where a node takes new grants.", ("node",)),
    "vramshare_node_agent_live": ("1 where a node's agent has been heard of lately.", ("node",)),
    "vramshare_node_releasing_grants": (
        "Grants whose pod was deleted by force: they count until the node's agent confirms that its processes ended.",
        ("node",),
    ),
    "vramshare_namespace_memory_allocated_bytes": ("GPU memory granted to a namespace.", _NAMESPACE),
    "vramshare_namespace_cores_allocated": ("GPU time reserved by a namespace, in whole GPUs.", _NAMESPACE),
    "vramshare_namespace_slices_allocated": ("Slices granted to a namespace.", _NAMESPACE),
    "vramshare_quota_memory_used_bytes": ("GPU memory of a namespace that counts against its quota.", _NAMESPACE),
    "vramshare_quota_memory_limit_bytes": (
        "GPU memory that its quota allows; absent where it limits none.",
        _NAMESPACE,
    ),
    "vramshare_quota_cores_used": ("GPU time reserved by a namespace with a quota, in whole GPUs.", _NAMESPACE),
    "vramshare_quota_cores_limit": (
        "GPU time that its quota allows, in whole GPUs; absent where it limits none.",
        _NAMESPACE,
    ),
    "vramshare_quota_slices_used": ("Slices of a namespace with a quota.", _NAMESPACE),
    "vramshare_quota_slices_limit": ("Slices that its quota allows; absent where it limits none.", _NAMESPACE),
    "vramshare_quota_unreadable": ("1 where a quota cannot be read, so that its namespace gets nothing.", _NAMESPACE),
    "vramshare_namespace_queued_pods": ("Pods of a namespace that wait behind our gate.", _NAMESPACE),
}


@dataclass(frozen=True, slots=True)
class NodeScene:
    """One node with GPUs.

    Attributes:
        name: the node's name.
        open: whether it takes new grants.
        live: whether its agent has been heard of lately.
        gpus: as its agent published them.
        grants: all that count there, written yet or not.
    """

    name: str
    open: bool
    live: bool
    gpus: Sequence[Gpu]
    grants: Sequence[Grant]

    @classmethod
    def of(cls, node: NodeState) -> "NodeScene":
        """A node as it is now."""
        return cls(
            name=node.name,
            open=node.info is not None and node.info.ready and node.obstacle() is None,
            live=node.live,
            gpus=node.inventory.gpus if node.inventory else (),
            grants=(*node.ledger.values(), *node.assumed.values()),
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """What a scrape tells of the cluster.

    Attributes:
        now: the time.
        leading: whether this replica leads, and so speaks for the cluster.
        nodes: every node with GPUs.
        waiting: the queue.
        fragmentation: by GPU model.
        quotas: by namespace that has one.
        stranded: counts what is stranded of each GPU, in GPUs, by node and in the order of its inventory.
    """

    now: datetime
    leading: bool
    nodes: Sequence[NodeScene] = ()
    waiting: Sequence[Waiting] = ()
    fragmentation: Mapping[str, Fragmentation] = field(default_factory=dict)
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    stranded: Callable[[], Mapping[str, Sequence[float]]] = dict

    @classmethod
    def of(cls, world: World, *, now: datetime, leading: bool) -> "Scene":
        """The cluster as this replica sees it now: all of it if it leads, else the queue alone."""
        if not leading:
            return cls(now=now, leading=False, waiting=world.pods.waiting())
        return cls(
            now=now,
            leading=leading,
            nodes=[NodeScene.of(node) for node in world.fleet.nodes()],
            waiting=world.pods.waiting(),
            fragmentation=by_model(world.fleet.table),
            quotas=world.quotas.all(),
            stranded=by_gpu(world.fleet.table),
        )

    def used(self) -> dict[str, Amount]:
        """What each namespace holds, as its quota counts it; namespaces that hold nothing are left out."""
        return tally((grant.namespace, one) for node in self.nodes for grant in node.grants for one in slices_of(grant))

    def oldest(self) -> float:
        """Seconds that the pod which waits longest has waited; 0: none waits."""
        return max((one.age(self.now) for one in self.waiting), default=0.0)


class Lookout:
    """Where collectors find the scene: as taken beforehand, or as of now where nobody takes it beforehand."""

    def __init__(self, read: Callable[[], Scene]) -> None:
        self._read = read
        self._taken: Scene | None = None

    def take(self) -> None:
        """Read off the scene that the next scrape tells; see `allocator.exposition`."""
        self._taken = self._read()

    @property
    def scene(self) -> Scene:
        """The scene."""
        return self._taken or self._read()

    def oldest(self) -> float:
        """See `Scene.oldest`."""
        return self.scene.oldest()


class SceneCollector(Collector):
    """The scene under vramshare's own names."""

    def __init__(self, lookout: Lookout) -> None:
        self._lookout = lookout

    def describe(self) -> list[Metric]:
        """The metrics, without values."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        scene, families = self._lookout.scene, _families()
        if scene.leading:
            _add_models(families, scene)
            _add_nodes(families, scene)
            used = scene.used()
            _add_namespaces(families, scene, used)
            _add_quotas(families, scene, used)
        yield from families.values()


Families = dict[str, GaugeMetricFamily]


def _families() -> Families:
    return {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in _TEXTS.items()}


def _add_models(families: Families, scene: Scene) -> None:
    for model, one in scene.fragmentation.items():
        families["vramshare_model_gpus"].add_metric([model], one.total)
        families["vramshare_model_free_gpus"].add_metric([model], one.free)
        families["vramshare_model_stranded_gpus"].add_metric([model], one.stranded)


def _add_nodes(families: Families, scene: Scene) -> None:
    stranded = scene.stranded()
    for node in scene.nodes:
        families["vramshare_node_open"].add_metric([node.name], node.open)
        families["vramshare_node_agent_live"].add_metric([node.name], node.live)
        releasing = sum(1 for grant in node.grants if grant.releasing is not None)
        families["vramshare_node_releasing_grants"].add_metric([node.name], releasing)
        on_gpus = held_by_gpu(node)
        for gpu, useless in zip(node.gpus, stranded.get(node.name) or repeat(0.0), strict=False):
            labels, mine = [node.name, gpu.uuid, gpu.model], on_gpus.get(gpu.uuid, NONE)
            families["vramshare_gpu_memory_capacity_bytes"].add_metric(labels, gpu.capacity.count)
            families["vramshare_gpu_memory_foreign_bytes"].add_metric(labels, gpu.foreign.count)
            families["vramshare_gpu_memory_allocated_bytes"].add_metric(labels, mine.memory)
            families["vramshare_gpu_cores_allocated_ratio"].add_metric(labels, mine.cores / FULL_TIME)
            families["vramshare_gpu_stranded_ratio"].add_metric(labels, useless)
            families["vramshare_gpu_slices_allocated"].add_metric(labels, mine.gpus)


def _add_namespaces(families: Families, scene: Scene, used: Mapping[str, Amount]) -> None:
    for namespace, mine in used.items():
        families["vramshare_namespace_memory_allocated_bytes"].add_metric([namespace], mine.memory)
        families["vramshare_namespace_cores_allocated"].add_metric([namespace], mine.cores / FULL_TIME)
        families["vramshare_namespace_slices_allocated"].add_metric([namespace], mine.gpus)
    for namespace, count in Counter(one.namespace for one in scene.waiting).items():
        families["vramshare_namespace_queued_pods"].add_metric([namespace], count)


def _add_quotas(families: Families, scene: Scene, everywhere: Mapping[str, Amount]) -> None:
    for namespace, quota in scene.quotas.items():
        used = everywhere.get(namespace, NONE)
        families["vramshare_quota_unreadable"].add_metric([namespace], bool(quota.problem))
        families["vramshare_quota_memory_used_bytes"].add_metric([namespace], used.memory)
        families["vramshare_quota_cores_used"].add_metric([namespace], used.cores / FULL_TIME)
        families["vramshare_quota_slices_used"].add_metric([namespace], used.gpus)
        if quota.memory is not None:
            families["vramshare_quota_memory_limit_bytes"].add_metric([namespace], quota.memory.count)
        if quota.cores is not None:
            families["vramshare_quota_cores_limit"].add_metric([namespace], quota.cores / FULL_TIME)
        if quota.gpus is not None:
            families["vramshare_quota_slices_limit"].add_metric([namespace], quota.gpus)


def held_by_gpu(node: NodeScene) -> dict[str, Amount]:
    """What grants hold of each GPU of a node, by UUID; GPUs of which nothing is held are left out."""
    return tally((one.uuid, one) for grant in node.grants for one in slices_of(grant))


def slices_of(grant: Grant) -> Iterator[Slice]:
    """All slices of a grant."""
    for slices in grant.allocation.containers.values():
        yield from slices


def tally(slices: Iterable[tuple[str, Slice]]) -> dict[str, Amount]:
    """What slices add up to, by key; as `quota.held` counts, and without an object for every step of a large sum."""
    sums: dict[str, list[int]] = {}
    for key, one in slices:
        total = sums.get(key)
        if total is None:
            total = sums[key] = [0, 0, 0]
        total[0] += one.memory.count
        total[1] += one.cores
        total[2] += 1
    return {key: Amount(*total) for key, total in sums.items()}
