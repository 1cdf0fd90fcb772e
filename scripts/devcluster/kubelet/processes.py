"""What a real kernel would say of a container's processes, written down for the node's agent.

A real kubelet and runtime put each container into control groups, and /proc tells whose a process is. Making control
groups takes rights that a developer's machine need not give, so this kubelet leaves a note instead, in the node's
``/run/devcluster/processes/<pid>``: the process' start time, the line that its /proc/<pid>/cgroup would hold, and the
container's name. It stands for that process and for all that descend from it.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator

from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.plan import Plan

FOLDER = "/run/devcluster/processes"


@contextlib.contextmanager
def recorded(host: HostFolder, pid: int, plan: Plan, *, uid: str, container: str) -> Iterator[None]:
    """Keep a note of a container's process while the block runs."""
    folder = host.host_path(FOLDER)
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/{pid}"
    identifier = hashlib.sha256(plan.scratch.encode()).hexdigest()
    try:
        text = f"{_start_of(pid)}\n0::/kubepods/besteffort/pod{uid}/{identifier}\n{container}\n"
    except FileNotFoundError:  # ended already
        yield
        return
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.new", path)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _start_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()
