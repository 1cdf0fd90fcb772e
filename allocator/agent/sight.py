"""Whether this agent can see the host's processes at all.

In a pod without `hostPID` the agent sees itself alone. Nothing would ever be found, and every pod would look gone:
the one thing that must not be mistaken for an answer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

BLIND: Final = "the agent does not see the host's processes; set hostPID: true in its DaemonSet"
_IN_POD: Final = "KUBERNETES_SERVICE_HOST"


def in_pod(environ: Mapping[str, str]) -> bool:
    """Whether this agent runs in a pod."""
    return _IN_POD in environ


def blind(proc: Path, environ: Mapping[str, str]) -> str:
    """Why the host's processes cannot be seen; empty where they can.

    In a pod, the first process is in another mount namespace than the agent if it is the host's, and in the same if it
    is the agent itself. Where the kernel refuses to tell, it is somebody else's.
    """
    if not in_pod(environ):
        return ""
    try:
        return BLIND if (proc / "1/ns/mnt").samefile(proc / "self/ns/mnt") else ""
    except OSError:
        return ""
