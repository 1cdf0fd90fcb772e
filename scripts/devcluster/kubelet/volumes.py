"""A pod's volumes: what each is (pure) and how it comes to be on the host (the only part that touches files)."""

import dataclasses
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any

from devcluster.kubelet import atomic
from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.payload import Origin, volume_files
from devcluster.kubelet.shim import system
from devcluster.kubelet.sources import ConfigError
from devcluster.quantities import parse

_PROJECTED = {
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
}


class VolumeError(Exception):
    """A volume cannot be set up now; the message is the one of a real kubelet."""


@dataclasses.dataclass(frozen=True)
class Volume:
    """One volume of one pod, resolved to a place on this machine."""

    name: str
    path: str
    kind: str
    """``empty``, ``memory``, ``host``, ``image`` or ``projected``."""
    host_type: str = ""
    """A hostPath's ``type``, such as ``File``; empty means no check."""
    size: int | None = None
    """Bytes, of a memory volume with a sizeLimit."""
    spec: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def plan_volumes(pod: Mapping[str, Any], host: HostFolder) -> list[Volume]:
    """Return where each volume of a pod lies."""
    return [_plan(volume, pod["metadata"]["uid"], host) for volume in pod["spec"].get("volumes") or []]


def _plan(volume: Mapping[str, Any], uid: str, host: HostFolder) -> Volume:
    name = volume["name"]
    if "hostPath" in volume:
        source = volume["hostPath"]
        path = host.host_path(source["path"])
        return Volume(name=name, path=path, kind="host", host_type=source.get("type") or "", spec=volume)
    if "image" in volume:
        reference = str(volume["image"].get("reference", ""))
        return Volume(name=name, path=host.image(reference), kind="image", spec=volume)
    for field, plugin in _PROJECTED.items():
        if field in volume:
            return Volume(name=name, path=host.volume(uid, plugin, name), kind="projected", spec=volume)
    empty = volume.get("emptyDir")
    if empty is None:
        raise VolumeError(f'volume "{name}": its kind is not simulated')
    limit = empty.get("sizeLimit")
    return Volume(
        name=name,
        path=host.volume(uid, "empty-dir", name),
        kind="memory" if empty.get("medium") == "Memory" else "empty",
        size=int(parse(limit)) if limit else None,
    )


def set_up(volume: Volume, origin: Origin, *, now: float, mount_memory: bool) -> bool:
    """Make one volume ready or bring it up to date; return whether anything changed.

    Args:
        volume: the volume.
        origin: what projected files are read from.
        now: seconds since 1970, for the name of the dated folder.
        mount_memory: mount a tmpfs for memory volumes; without the right to mount they are plain folders.

    Raises:
        VolumeError: it cannot be made now.
    """
    if volume.kind == "host":
        return _check_host_path(volume, origin)
    if volume.kind == "image":
        if not os.path.isdir(volume.path):
            reference = volume.spec["image"].get("reference")
            raise VolumeError(f'Failed to pull image "{reference}": this node has no folder with its files')
        return False
    if volume.kind == "projected":
        try:
            return atomic.write(volume.path, volume_files(volume.spec, origin), now)
        except ConfigError as error:
            raise _failed(volume, str(error)) from error
    if not os.path.isdir(volume.path):
        os.makedirs(volume.path)
        os.chmod(volume.path, 0o777)  # noqa: S103 - the container's user, whoever it is, writes here
        if volume.kind == "memory" and mount_memory:
            size = f",size={volume.size}" if volume.size else ""
            system.mount("tmpfs", volume.path, kind="tmpfs", data=f"mode=777{size}")
        return True
    return False


def share_mounts(folder: str) -> None:
    """Let mounts made below ``folder`` reach containers that ask for it, as a real node's are shared.

    Raises:
        OSError: this user may not mount.
    """
    system.mount(folder, folder, flags=system.MS_BIND)
    system.mount("", folder, flags=system.MS_SHARED)


def tear_down(volume: Volume) -> None:
    """Undo what outlives the removal of the pod's folder: the mount of a memory volume."""
    if volume.kind == "memory" and os.path.ismount(volume.path):
        system.unmount(volume.path)


def _failed(volume: Volume, why: str) -> VolumeError:
    return VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {why}')


_HOST_TYPES: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def _check_host_path(volume: Volume, origin: Origin) -> bool:
    del origin  # The check needs the path alone.
    made = False
    if not os.path.exists(volume.path):
        if volume.host_type in {"", "DirectoryOrCreate"}:
            os.makedirs(volume.path, mode=0o755)
            made = True
        elif volume.host_type == "FileOrCreate" and os.path.isdir(os.path.dirname(volume.path)):
            os.close(os.open(volume.path, os.O_CREAT | os.O_WRONLY, 0o644))
            made = True
    if volume.host_type:
        check, words = _HOST_TYPES[volume.host_type]
        if not os.path.exists(volume.path) or not check(os.stat(volume.path).st_mode):
            shown = volume.spec["hostPath"]["path"]
            raise _failed(volume, f"hostPath type check failed: {shown} is not {words}")
    return made
