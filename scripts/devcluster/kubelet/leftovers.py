"""What a cluster that was killed leaves behind: pods' folders, and the mounts of memory volumes in them."""

import re
import shutil

from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.shim import system


def mounts_below(mountinfo: str, folder: str) -> list[str]:
    """Return the mount points below ``folder``, the innermost first."""
    found = []
    for line in mountinfo.splitlines():
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if path.startswith(folder.rstrip("/") + "/"):
            found.append(path)
    return found[::-1]


def clear_mounts(folder: str) -> None:
    """Unmount everything below ``folder``.

    Raises:
        OSError: a mount cannot be removed by this user.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for path in mounts_below(table.read(), folder):
            system.unmount(path)


def clear_pods(host: HostFolder) -> None:
    """Remove what earlier pods left on a node; other files of its host stay."""
    for folder in (host.runtime, host.host_path("/var/lib/kubelet/pods"), host.host_path("/var/log/pods")):
        shutil.rmtree(folder, ignore_errors=True)
