"""How the interposer comes into a pod: from its node's folder, or brought along where Pod Security forbids that.

`host` mounts the node's folder, with the timetables of its GPUs in it. `image` mounts a folder of the agent's image
(an image volume); `init` has an init container copy the library from there. Both bring no timetables along: a capped
container then takes turns by a table of its own, made of its own share.
"""

from collections.abc import Mapping
from typing import Any, Final

from allocator.api import names
from allocator.api.errors import RequestError
from webhook.mutation import environment, files
from webhook.mutation.outcome import Notes
from webhook.mutation.shapes import Json, annotations_of, labels_of, spec_of, with_spec
from webhook.settings import Delivery, MutationSettings

_AUTOMATIC: Final = "auto"
_STRICT: Final = frozenset({"baseline", "restricted"})
"""Pod Security levels that forbid hostPath volumes."""
_ANNOTATION: Final = f"namespace annotation {names.DELIVERY}"
_USER: Final = 65532
_SOURCE: Final = f"/{names.IMAGE_LIBRARY_DIR}/{names.DELIVERED_LIBRARY.removeprefix(f'{names.LIBRARY_DIR}/')}"
_AMOUNTS: Final = {"cpu": "10m", "memory": "16Mi"}
"""Limits equal to requests: a pod that was Guaranteed stays so."""


def delivery_to(namespace: Mapping[str, Any] | None, settings: MutationSettings) -> Delivery:
    """How the interposer comes into the pods of a namespace.

    Args:
        namespace: the Namespace object; None: not seen yet, taken for one without labels (Pod Security, which knows
            better, then refuses the pod, and its owner tries again).
        settings: the cluster's.

    Raises:
        RequestError: as the namespace says it cannot be; or Pod Security is in the way and no image is configured.
    """
    asked = annotations_of(namespace or {}).get(names.DELIVERY, _AUTOMATIC)
    level = labels_of(namespace or {}).get(names.POD_SECURITY_LABEL, "")
    strict = level in _STRICT
    if asked not in {_AUTOMATIC, *Delivery}:
        raise _refused(asked, "no such way of delivery", "write host, image, init or auto")
    if asked == Delivery.HOST and strict:
        remedy = "write image or init; or set its level to privileged"
        raise _refused(asked, f"this namespace's Pod Security level {level} forbids hostPath volumes", remedy)
    chosen = (settings.strict_delivery if strict else Delivery.HOST) if asked == _AUTOMATIC else Delivery(asked)
    if chosen is not Delivery.HOST and not settings.interposer_image:
        problem = f"the interposer is to come by {chosen.value}, but the webhook was told no image that has it"
        raise _refused(asked, problem, "start the webhook with --interposer-image, or use a privileged namespace")
    return chosen


def library_of(delivery: Delivery) -> str:
    """Where the interposer then is in the pod's containers; empty: where the node's agent has put it."""
    return "" if delivery is Delivery.HOST else names.DELIVERED_LIBRARY


def with_deliverer(pod: Mapping[str, Any], delivery: Delivery | None, settings: MutationSettings, notes: Notes) -> Json:
    """The pod with the init container that copies the library, first of all, where that is the way; else without one.

    Args:
        pod: the pod.
        delivery: how the library comes; None: the pod has no GPU.
        settings: the cluster's.
        notes: a container that somebody else called by this name is told of.
    """
    before = list(spec_of(pod).get("initContainers") or ())
    others = [one for one in before if one["name"] != names.DELIVER_CONTAINER]
    present = next((one for one in before if one["name"] == names.DELIVER_CONTAINER), None)
    if delivery is not Delivery.INIT:
        if present is not None:
            notes.add(f"init container {names.DELIVER_CONTAINER} is vramshare's to add; it was dropped")
        return with_spec(pod, initContainers=others) if present is not None else dict(pod)
    deliverer = _deliverer(present or {}, settings)
    if present is None:
        return with_spec(pod, initContainers=[deliverer, *others])
    return with_spec(pod, initContainers=[deliverer if one is present else one for one in before])


def _deliverer(present: Mapping[str, Any], settings: MutationSettings) -> Json:
    """The init container. Of one that is there already, what the API server and others have added stays.

    It may run under Pod Security `restricted`.
    """
    mount = {"name": names.VOLUME_LIBRARY, "mountPath": names.LIBRARY_DIR}
    return {
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        **{key: value for key, value in present.items() if key not in {"args", "lifecycle", "restartPolicy"}},
        "name": names.DELIVER_CONTAINER,
        "image": settings.interposer_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["cp", _SOURCE, names.DELIVERED_LIBRARY],
        "env": environment.voided(present.get("env")),
        "resources": {"limits": dict(_AMOUNTS), "requests": dict(_AMOUNTS)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": _USER,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": files.with_ours(present.get("volumeMounts"), [mount]),
    }


def _refused(asked: str, problem: str, remedy: str) -> RequestError:
    return RequestError(where=_ANNOTATION, value=asked, problem=problem, remedy=remedy)
