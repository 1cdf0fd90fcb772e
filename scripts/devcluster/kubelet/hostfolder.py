"""Where a simulated node keeps its things on this machine.

Each node has a host root of its own: a hostPath ``/x`` of a pod on that node is ``<root>/x``. The kubelet's own files
lie in it where a real kubelet has them; what a container runtime would keep elsewhere lies beside it.
"""

import dataclasses
import json
import os

_KERNEL = ("/dev", "/proc", "/sys")
_STANDARD = ("etc", "opt", "run/devcluster/processes", "tmp", "var/lib/kubelet/pods", "var/log/pods")


@dataclasses.dataclass(frozen=True)
class HostFolder:
    """The folders of one node, as absolute paths on this machine."""

    base: str

    @property
    def root(self) -> str:
        """The node's host root."""
        return f"{self.base}/root"

    @property
    def runtime(self) -> str:
        """What belongs to the container runtime: writable layers, loader cache."""
        return f"{self.base}/runtime"

    def image(self, reference: str) -> str:
        """Return the folder with the files of an image, which whoever uses the cluster may have put there."""
        return f"{self.base}/images/{reference.replace('/', '_').replace(':', '_')}"

    def entrypoint(self, reference: str) -> list[str]:
        """Return an image's entry point by its OCI configuration, if there is one beside its folder."""
        try:
            with open(f"{self.image(reference)}.json", encoding="utf-8") as file:
                return list(json.load(file)["config"]["Entrypoint"])
        except FileNotFoundError:
            return []

    def host_path(self, path: str) -> str:
        """Return where a path of the node's host lies. The kernel's own file systems are the machine's."""
        if any(path == each or path.startswith(each + "/") for each in _KERNEL):
            return path
        return os.path.normpath(f"{self.root}/{path}")

    def pod(self, uid: str) -> str:
        """Return the kubelet's folder of a pod."""
        return f"{self.root}/var/lib/kubelet/pods/{uid}"

    def volume(self, uid: str, plugin: str, name: str) -> str:
        """Return the folder of a volume that the kubelet itself makes; ``plugin`` is such as ``empty-dir``."""
        return f"{self.pod(uid)}/volumes/kubernetes.io~{plugin}/{name}"

    def logs(self, namespace: str, name: str, uid: str) -> str:
        """Return the folder of a pod's logs."""
        return f"{self.root}/var/log/pods/{namespace}_{name}_{uid}"

    def make(self) -> None:
        """Create the folders that every host has."""
        for name in _STANDARD:
            os.makedirs(f"{self.root}/{name}", exist_ok=True)
        if not os.path.lexists(f"{self.root}/var/run"):
            os.symlink("../run", f"{self.root}/var/run")
        os.makedirs(self.runtime, exist_ok=True)
