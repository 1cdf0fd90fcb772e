"""Mounts of a user that would hide vramshare's files, or get at GPUs around it.

They are refused and not taken away: whoever wrote them counts on what they mount.
"""

import posixpath
from collections.abc import Container, Mapping
from typing import Any, Final

from allocator.api import names
from allocator.api.errors import RequestError
from webhook.mutation.files import is_reserved
from webhook.mutation.shapes import CONTAINER_LISTS, spec_of

_OURS: Final = (names.ALLOCATION_DIR, names.REGION_DIR, names.LIBRARY_DIR, names.PRELOAD_FILE)
_DEVICE_LIST: Final = "/run/nvidia-container-devices"
"""Where the NVIDIA runtime, if so configured, reads a container's GPUs from the names of mounts, and then passes
over NVIDIA_VISIBLE_DEVICES."""


def refuse_conflicts(pod: Mapping[str, Any], gpu_containers: Container[str]) -> None:
    """Look at every mount of the pod.

    Raises:
        RequestError: one lies where vramshare's files go, or chooses GPUs.
    """
    spec = spec_of(pod)
    for kind in CONTAINER_LISTS:
        for container in spec.get(kind) or ():
            for mount in container.get("volumeMounts") or ():
                if not is_reserved(mount.get("name", "")):
                    _check(mount.get("mountPath", ""), container["name"], has_slice=container["name"] in gpu_containers)


def refuse_device_lists(container: Mapping[str, Any]) -> None:
    """Look at the mounts of a container that is to see no GPU.

    Raises:
        RequestError: one chooses GPUs.
    """
    for mount in container.get("volumeMounts") or ():
        _check(mount.get("mountPath", ""), container["name"], has_slice=False)


def _check(path: str, container: str, *, has_slice: bool) -> None:
    place = _resolved(path)
    if _within(place, _DEVICE_LIST):
        raise RequestError(
            where="mountPath",
            value=path,
            problem="the NVIDIA runtime takes mounts there for a choice of GPUs, which vramshare makes",
            remedy="remove the mount and ask by annotation vramshare.io/uuids",
            container=container,
        )
    if has_slice and any(_within(place, ours) for ours in _OURS):
        raise RequestError(
            where="mountPath",
            value=path,
            problem="a container with a GPU slice has vramshare's own files there",
            remedy="mount it at another path",
            container=container,
        )


def _resolved(path: str) -> str:
    """The path without detours. `/var/run` is a link to `/run` in nearly every image."""
    plain = posixpath.normpath("/" + path.lstrip("/"))
    return plain.removeprefix("/var") if _within(plain, "/var/run") else plain


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
