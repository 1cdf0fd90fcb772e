"""HAMi's container resources: once read, they go.

No node advertises them, so a pod that kept them would wait for ever.
"""

from collections.abc import Mapping
from typing import Any, Final

from allocator.api import names
from webhook.mutation.shapes import Json

_PARTS: Final = ("limits", "requests")


def without_gpu_resources(container: Json, *, keep: Mapping[str, Any] | None = None) -> Json:
    """The container without GPU resources in its limits and requests.

    Args:
        container: the container.
        keep: on an update, the container as it was: what it had there may not be changed any more.
    """
    resources = container.get("resources") or {}
    changed = dict(resources)
    for part in _PARTS:
        amounts = resources.get(part) or {}
        before = ((keep or {}).get("resources") or {}).get(part) or {}
        rest = {name: value for name, value in amounts.items() if name not in names.HAMI_RESOURCES or name in before}
        if len(rest) == len(amounts):
            continue
        if rest:
            changed[part] = rest
        else:
            del changed[part]
    return container if changed == resources else {**container, "resources": changed}
