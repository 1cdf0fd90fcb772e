"""Which pod and container a process belongs to, read from the text of its /proc/<pid>/cgroup. Pure.

The kubelet makes a control group per pod and the runtime one per container below it. How they are called depends on
the kubelet's driver, the runtime and the distribution:

    cgroupfs driver    /kubepods/burstable/pod<uid>/<id>                        containerd, Docker, MicroK8s, k3s
    systemd driver     /kubepods.slice/…/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope   dashes as _
                       …/crio-<id>.scope, …/crio-<id>.scope/container, …/docker-<id>.scope
    drivers that       /system.slice/containerd.service/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>
    disagree
    nodes in           a prefix: /docker/<id>/kubelet/kubepods/…, /kubelet.slice/kubelet-kubepods.slice/…
    containers

Only what lies outside a tenant's reach is read: of several pods in one path (a cluster nested in a pod) the
outermost is this node's, and what a container makes below its own group cannot come before it.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

_UID: Final = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD: Final = re.compile(rf"(?:[a-z-]+-)?pod({_UID})(?:\.slice)?(?::[a-z0-9.-]+:([0-9a-f]{{12,64}}))?")
"""A pod's own segment; with colons, the container's too."""
_CONTAINER: Final = re.compile(r"(?:(?:cri-containerd|containerd|crio|docker|libpod)-)?([0-9a-f]{12,64})(?:\.scope)?")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a process belongs to.

    Attributes:
        uid: the pod's UID; of a static pod the hash that its folder is named by.
        container: the runtime's id of the container; empty for what lies in the pod's group itself.
    """

    uid: str
    container: str = ""


def owner_of(text: str) -> Owner | None:
    """Read a /proc/<pid>/cgroup; None for a process of no pod.

    With version 1 there is a line per hierarchy. Should they disagree, most of them decide: moving a process within
    one hierarchy does not give it to somebody else.
    """
    found = Counter(owner for line in text.splitlines() if (owner := _of_path(line.split(":", 2)[-1])) is not None)
    return found.most_common(1)[0][0] if found else None


def _of_path(path: str) -> Owner | None:
    segments = path.split("/")
    for at, segment in enumerate(segments):
        pod = _POD.fullmatch(segment)
        if pod is None:
            continue
        uid = pod[1].replace("_", "-")
        if pod[2]:
            return Owner(uid, pod[2])
        below = _CONTAINER.fullmatch(segments[at + 1]) if at + 1 < len(segments) else None
        return Owner(uid, below[1] if below else "")
    return None
