"""What else gives out this node's GPUs: a device plugin, a DRA driver, found by what they leave with the kubelet.

A pod that gets a whole GPU from one of them takes memory that grants were promised, at any moment. Such GPUs are
therefore listed as unusable, and it is said why. Who knows better (another node pool's GPUs, a plugin that stays only
for its labels) can say so: then the GPUs that pods really got are taken off in full, and the rest is used.

    <kubelet>/device-plugins/kubelet_internal_checkpoint   which devices of which resource are offered, and who has them
    <kubelet>/plugins/gpu.nvidia.com/*.sock                the DRA driver of NVIDIA
"""

import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from allocator.agent.kubelet import kubelet_folder
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory

CHECKPOINT: Final = "device-plugins/kubelet_internal_checkpoint"
DRA: Final = "plugins/gpu.nvidia.com"
_LARGEST: Final = 16 << 20
_UUID: Final = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Devices that are shared by replicas carry the UUID with something behind it."""
_RESOURCE: Final = re.compile(r"nvidia\.com/(?!mig-).+")
PLUGIN: Final = "a device plugin gives this whole GPU to pods; take it off the node, or set --neighbours=share"
DRIVER: Final = "NVIDIA's DRA driver gives this node's GPUs to pods; take it off the node, or set --neighbours=share"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What others offer and have given out.

    Attributes:
        offered: GPUs that the device plugin offers.
        taken: pods' UIDs by GPU that they got from it.
        dra: whether the DRA driver serves the node.
    """

    offered: frozenset[str] = frozenset()
    taken: Mapping[str, frozenset[str]] = field(default_factory=dict)
    dra: bool = False

    @property
    def pods(self) -> frozenset[str]:
        """UIDs of all pods that got a GPU from the device plugin."""
        return frozenset().union(*self.taken.values())


def look(root: Path) -> Neighbours:
    """What is to be found on the host whose file system is at `root`; nothing where there is no kubelet."""
    kubelet = kubelet_folder(root)
    if kubelet is None:
        return Neighbours()
    try:
        with (kubelet / CHECKPOINT).open("rb") as stream:
            content = stream.read(_LARGEST)
    except OSError:
        content = b""
    found = parse(content)
    # The kubelet forgets pods that have ended only when it needs their devices.
    live = {
        uuid: frozenset(pod for pod in pods if (kubelet / "pods" / pod).is_dir()) for uuid, pods in found.taken.items()
    }
    return replace(found, taken={uuid: pods for uuid, pods in live.items() if pods}, dra=any(_sockets(kubelet / DRA)))


@dataclass(slots=True)
class Neighbourhood:
    """The neighbours as they were seen last.

    Attributes:
        root: where the host's file system is.
        share: use what others offer but have not given out.
        found: what was seen.
    """

    root: Path
    share: bool = False
    found: Neighbours = field(default_factory=Neighbours)

    def judge(self, inventory: Inventory) -> Inventory:
        """Look again, and mark the GPUs of others in the inventory."""
        self.found = look(self.root)
        return judge(inventory, self.found, share=self.share)


def parse(checkpoint: bytes) -> Neighbours:
    """Read the kubelet's checkpoint; what cannot be understood there says nothing."""
    try:
        data = json.loads(checkpoint)["Data"]
        registered = data.get("RegisteredDevices") or {}
        ours = [devices for name, devices in registered.items() if _RESOURCE.fullmatch(name)]
        offered = {uuid for devices in ours for uuid in _uuids(devices)}
        taken: dict[str, set[str]] = {}
        for entry in data.get("PodDeviceEntries") or ():
            if _RESOURCE.fullmatch(entry["ResourceName"]):
                for uuid in _uuids(entry.get("DeviceIDs")):
                    taken.setdefault(uuid, set()).add(str(entry["PodUID"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Neighbours()
    return Neighbours(offered=frozenset(offered), taken={uuid: frozenset(pods) for uuid, pods in taken.items()})


def judge(inventory: Inventory, neighbours: Neighbours, *, share: bool) -> Inventory:
    """The inventory with the GPUs of others marked as such.

    Args:
        inventory: as it is to be published.
        neighbours: what was found.
        share: use what others offer but have not given out.
    """
    return replace(inventory, gpus=tuple(_judged(gpu, neighbours, share=share) for gpu in inventory.gpus))


def _judged(gpu: Gpu, neighbours: Neighbours, *, share: bool) -> Gpu:
    if share:
        whole = gpu.uuid in neighbours.taken
        return replace(gpu, foreign=Memory(max(gpu.foreign.count, gpu.capacity.count))) if whole else gpu
    if not gpu.healthy:
        return gpu
    if gpu.uuid in neighbours.offered | neighbours.taken.keys():
        return replace(gpu, health=PLUGIN)
    return replace(gpu, health=DRIVER) if neighbours.dra else gpu


def _uuids(devices: Any) -> Iterator[str]:
    """UUIDs in a list of device ids, or in lists of them by NUMA node."""
    lists = devices.values() if isinstance(devices, Mapping) else [devices or ()]
    for ids in lists:
        for one in ids:
            if isinstance(one, str) and (found := _UUID.match(one)):
                yield found[0]


def _sockets(folder: Path) -> Iterator[Path]:
    try:
        for one in folder.iterdir():
            if stat.S_ISSOCK(one.lstat().st_mode):
                yield one
    except OSError:
        return
