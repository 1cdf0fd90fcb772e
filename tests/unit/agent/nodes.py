"""A node's files as the kubelet and tenants write them."""

import os
from pathlib import Path

from allocator.api.names import allocation_volume

ALLOCATIONS = "volumes/kubernetes.io~downward-api"
REGIONS = "volumes/kubernetes.io~empty-dir/vramshare-region"


class Node:
    """A kubelet's folder below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kubelet = root / "var/lib/kubelet"
        self.logs = root / "var/log/pods"
        (self.kubelet / "pods").mkdir(parents=True)
        self.logs.mkdir(parents=True)
        self._written = 0

    def pod(self, uid: str, name: str = "") -> None:
        """A pod appears."""
        (self.kubelet / "pods" / uid).mkdir(exist_ok=True)
        if name:
            (self.logs / f"{name.replace('/', '_')}_{uid}").mkdir(exist_ok=True)

    def allocate(self, uid: str, container: str, text: str) -> None:
        """The kubelet writes a container's allocation file the way it does: all at once, behind a link."""
        volume = self.kubelet / "pods" / uid / ALLOCATIONS / allocation_volume(container)
        self._written += 1
        fresh = f"..{self._written}"
        (volume / fresh).mkdir(parents=True)
        (volume / fresh / "allocation").write_text(text)
        (volume / "..tmp").symlink_to(fresh)
        (volume / "..tmp").rename(volume / "..data")
        if not os.path.lexists(volume / "allocation"):
            (volume / "allocation").symlink_to("..data/allocation")

    def region(self, uid: str, container: str) -> Path:
        """Where a container's region is; its folder exists then."""
        folder = self.kubelet / "pods" / uid / REGIONS / container
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "region"
