"""What the kubelet decides about one container, in the form in which the container shim carries it out.

Every decision (environment, mounts, devices) is made in the kubelet by pure functions; the shim only executes this
plan. It crosses the process boundary as one line of JSON, so all fields are plain values. Standard library only: the
shim runs without site-packages.
"""

import dataclasses
import json
from collections.abc import Sequence

NAMESPACES = "namespaces"
"""Isolation by mount, PID and UTS namespaces, made as real root."""
USER_NAMESPACES = "user-namespaces"
"""The same inside a user namespace, for a kubelet that is not root."""
PROCESS = "process"
"""No isolation: a plain process group. Mount points do not exist; paths in the environment are rewritten instead."""


@dataclasses.dataclass(frozen=True)
class Bind:
    """One bind mount: ``source`` on the host appears at ``target``, an absolute path in the container."""

    source: str
    target: str
    read_only: bool = False
    propagated: bool = False
    """Mounts made later below ``source`` on the host appear in the container too (HostToContainer)."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One container, fully resolved."""

    argv: tuple[str, ...]
    env: dict[str, str]
    log_path: str
    """CRI log file, created by the shim."""
    scratch: str
    """Existing empty host folder, on which the shim mounts the container's writable layer."""
    isolation: str = NAMESPACES
    cwd: str = "/"
    hostname: str = ""
    host_pid: bool = False
    """The container shares the host's PID namespace."""
    binds: tuple[Bind, ...] = ()
    """In the order in which they are mounted: parents before children."""
    hide: tuple[str, ...] = ()
    """Host files that must not exist in the container, such as the libraries of a real driver."""
    devices: tuple[str, ...] = ()
    """Further names under /dev, beside the standard ones of every container."""
    private_mounts: tuple[str, ...] = ()
    """Host folders whose mounts are not passed on, such as other pods' volumes."""
    read_only_root: bool = False
    uid: int | None = None
    gid: int | None = None

    def encode(self) -> bytes:
        """Return the plan as one line of JSON."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "Plan":
        """Read what :meth:`encode` wrote."""
        fields = json.loads(line)
        fields["binds"] = tuple(Bind(**bind) for bind in fields["binds"])
        for name in ("argv", "hide", "devices", "private_mounts"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def is_below(path: str, folders: Sequence[str]) -> bool:
    """Tell whether ``path`` is one of ``folders`` or inside one."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)
