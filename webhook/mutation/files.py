"""The volumes of a GPU pod and the mounts of its GPU containers.

What the API server would add by default is written out: it calls a webhook again with the defaults filled in, and
only then does the second pass find its own work and leave it alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from allocator.api import names
from allocator.api.quantities import Memory
from webhook.mutation.shapes import Json
from webhook.settings import MutationSettings

_READABLE: Final = 0o644
_FIXED: Final = frozenset({names.VOLUME_LIBRARY, names.VOLUME_PRELOAD, names.VOLUME_REGION})
LOCAL_VOLUMES: Final = (names.VOLUME_LIBRARY, names.VOLUME_PRELOAD, names.VOLUME_REGION)
"""Ours that an autoscaler takes for local data: hostPath and emptyDir."""


def is_reserved(volume: str) -> bool:
    """Whether a volume of this name is ours."""
    return volume in _FIXED or volume.startswith(names.VOLUME_ALLOCATION_PREFIX)


def volumes(containers: Iterable[str], settings: MutationSettings) -> list[Json]:
    """The volumes that a pod with these GPU containers needs."""
    containers = list(containers)
    region = Memory(settings.region_limit.count * len(containers))
    return [
        {"name": names.VOLUME_LIBRARY, "hostPath": {"path": settings.host_dir, "type": "Directory"}},
        {
            "name": names.VOLUME_PRELOAD,
            "hostPath": {"path": f"{settings.host_dir}/{names.HOST_PRELOAD_FILE}", "type": "File"},
        },
        {"name": names.VOLUME_REGION, "emptyDir": {"medium": "Memory", "sizeLimit": str(region)}},
        *(_allocation_volume(container) for container in containers),
    ]


def mounts(container: str) -> list[Json]:
    """The mounts of one GPU container."""
    return [
        {"name": names.VOLUME_LIBRARY, "mountPath": names.LIBRARY_DIR, "readOnly": True},
        {"name": names.VOLUME_PRELOAD, "mountPath": names.PRELOAD_FILE, "readOnly": True},
        {"name": names.VOLUME_REGION, "mountPath": names.REGION_DIR, "subPath": container},
        {"name": names.allocation_volume(container), "mountPath": names.ALLOCATION_DIR, "readOnly": True},
    ]


def with_ours(items: Iterable[Json] | None, wanted: Iterable[Json]) -> list[Json]:
    """A list of volumes or of mounts in which, of ours, exactly the wanted ones are.

    Those that stand there rightly keep their places; the rest is appended.
    """
    missing = list(wanted)
    result = []
    for item in items or ():
        if item in missing:
            missing.remove(item)
        elif is_reserved(item.get("name", "")):
            continue
        result.append(item)
    return [*result, *missing]


def brought(pod_spec: Mapping[str, Any]) -> list[str]:
    """Names of the pod's volumes that are reserved for us."""
    found = (volume.get("name", "") for volume in pod_spec.get("volumes") or ())
    return [name for name in found if is_reserved(name)]


def _allocation_volume(container: str) -> Json:
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{names.allocation_annotation(container)}']"}
    return {
        "name": names.allocation_volume(container),
        "downwardAPI": {
            "defaultMode": _READABLE,
            "items": [{"path": names.ALLOCATION_FILE, "fieldRef": field}],
        },
    }
