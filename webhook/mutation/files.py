"""The volumes of a GPU pod and the mounts of its GPU containers.

What the API server would add by default is written out: it calls a webhook again with the defaults filled in, and
only then does the second pass find its own work and leave it alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from allocator.api import names
from allocator.api.quantities import Memory
from webhook.mutation.shapes import Json
from webhook.settings import Delivery, MutationSettings

_READABLE: Final = 0o644
_COPY_LIMIT: Final = Memory.mib(32)
"""Of the volume with a copy of the interposer, which is a small part of that."""
_FIXED: Final = frozenset({names.VOLUME_LIBRARY, names.VOLUME_PRELOAD, names.VOLUME_REGION})
LOCAL_VOLUMES: Final = (names.VOLUME_LIBRARY, names.VOLUME_PRELOAD, names.VOLUME_REGION)
"""Ours that an autoscaler takes for local data: hostPath and emptyDir."""


def is_reserved(volume: str) -> bool:
    """Whether a volume of this name is ours."""
    return volume in _FIXED or volume.startswith(names.VOLUME_ALLOCATION_PREFIX)


def volumes(containers: Iterable[str], settings: MutationSettings, delivery: Delivery) -> list[Json]:
    """The volumes that a pod with these GPU containers needs, the interposer delivered in this way."""
    containers = list(containers)
    region = Memory(settings.region_limit.count * len(containers))
    return [
        *_library_volumes(settings, delivery),
        {"name": names.VOLUME_REGION, "emptyDir": {"medium": "Memory", "sizeLimit": str(region)}},
        *(_allocation_volume(container) for container in containers),
    ]


def mounts(container: str, delivery: Delivery = Delivery.HOST) -> list[Json]:
    """The mounts of one GPU container."""
    library: Json = {"name": names.VOLUME_LIBRARY, "mountPath": names.LIBRARY_DIR, "readOnly": True}
    preload: Json = {"name": names.VOLUME_PRELOAD, "mountPath": names.PRELOAD_FILE, "readOnly": True}
    if delivery is Delivery.IMAGE:
        library["subPath"] = names.IMAGE_LIBRARY_DIR
    if delivery is not Delivery.HOST:
        preload["subPath"] = names.HOST_PRELOAD_FILE
    return [
        library,
        preload,
        {"name": names.VOLUME_REGION, "mountPath": names.REGION_DIR, "subPath": container},
        {"name": names.allocation_volume(container), "mountPath": names.ALLOCATION_DIR, "readOnly": True},
    ]


def with_ours(items: Iterable[Json] | None, wanted: Iterable[Json]) -> list[Json]:
    """A list of volumes or of mounts in which, of ours, exactly the wanted ones are.

    Those that stand there rightly keep their places; the rest is appended. Either list may be as long as a hostile
    pod can be.
    """
    missing: dict[bytes, list[Json]] = {}
    for item in wanted:
        missing.setdefault(_identity(item), []).append(item)
    result = []
    for item in items or ():
        if is_reserved(item.get("name", "")):
            if not (same := missing.get(_identity(item))):
                continue
            same.pop()
        result.append(item)
    return [*result, *(item for same in missing.values() for item in same)]


def brought(pod_spec: Mapping[str, Any]) -> list[str]:
    """Names of the pod's volumes that are reserved for us."""
    found = (volume.get("name", "") for volume in pod_spec.get("volumes") or ())
    return [name for name in found if is_reserved(name)]


def _identity(item: Json) -> bytes:
    """What two equal items have in common."""
    return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)


def _library_volumes(settings: MutationSettings, delivery: Delivery) -> list[Json]:
    """The folder with the interposer, and the file that names it to the loader.

    A pod that brings its own library has that file from an annotation, so that no host's file is needed.
    """
    if delivery is Delivery.HOST:
        preload = f"{settings.host_dir}/{names.HOST_PRELOAD_FILE}"
        return [
            {"name": names.VOLUME_LIBRARY, "hostPath": {"path": settings.host_dir, "type": "Directory"}},
            {"name": names.VOLUME_PRELOAD, "hostPath": {"path": preload, "type": "File"}},
        ]
    if delivery is Delivery.IMAGE:
        source: Json = {"image": {"reference": settings.interposer_image, "pullPolicy": "IfNotPresent"}}
    else:
        source = {"emptyDir": {"sizeLimit": str(_COPY_LIMIT)}}
    return [
        {"name": names.VOLUME_LIBRARY, **source},
        _annotation_volume(names.VOLUME_PRELOAD, names.HOST_PRELOAD_FILE, annotation=names.LIBRARY),
    ]


def _allocation_volume(container: str) -> Json:
    volume, annotation = names.allocation_volume(container), names.allocation_annotation(container)
    return _annotation_volume(volume, names.ALLOCATION_FILE, annotation=annotation)


def _annotation_volume(volume: str, file: str, *, annotation: str) -> Json:
    """A volume with one file, which holds an annotation's value."""
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{annotation}']"}
    return {
        "name": volume,
        "downwardAPI": {"defaultMode": _READABLE, "items": [{"path": file, "fieldRef": field}]},
    }
