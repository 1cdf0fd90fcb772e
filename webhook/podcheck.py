"""Whether an object has the form of a pod, as far as the mutation reads it.

An API server sends nothing else. But the webhook's port can be reached by others, and an object that breaks the
mutation half-way must be refused with the field's name, not with a traceback.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from webhook.review import ReviewError

Check = Callable[[Any, str], None]


def check_pod(pod: Mapping[str, Any], *, where: str) -> None:
    """Look at the fields that the mutation reads.

    Args:
        pod: the object.
        where: how the review calls it.

    Raises:
        ReviewError: a field has another type than a pod's.
    """
    _POD(pod, where)


def _text(value: Any, where: str) -> None:
    _expect(isinstance(value, str), where, "a text")


def _amount(value: Any, where: str) -> None:
    _expect(isinstance(value, str | int | float), where, "a quantity")


def _mapping(each: Check) -> Check:
    def check(value: Any, where: str) -> None:
        _expect(isinstance(value, dict), where, "an object")
        for key, item in value.items():
            each(item, f"{where}.{key}")

    return check


def _list(each: Check) -> Check:
    def check(value: Any, where: str) -> None:
        _expect(isinstance(value, list), where, "a list")
        for index, item in enumerate(value):
            each(item, f"{where}[{index}]")

    return check


def _object(needed: tuple[str, ...] = (), **fields: Check) -> Check:
    """An object whose known fields pass their checks where present; the needed ones must be."""

    def check(value: Any, where: str) -> None:
        _expect(isinstance(value, dict), where, "an object")
        for name in needed:
            _expect(value.get(name) is not None, f"{where}.{name}", "set")
        for name, field in fields.items():
            if value.get(name) is not None:
                field(value[name], f"{where}.{name}")

    return check


def _expect(good: bool, where: str, wanted: str) -> None:  # noqa: FBT001 - a condition is what this is about
    if not good:
        raise ReviewError(f"{where} is not {wanted}")


_AMOUNTS: Final = _mapping(_amount)
_CONTAINER: Final = _object(
    ("name",),
    name=_text,
    env=_list(_object(("name",), name=_text, value=_text, valueFrom=_object(fieldRef=_object(fieldPath=_text)))),
    volumeMounts=_list(_object(("name", "mountPath"), name=_text, mountPath=_text)),
    resources=_object(limits=_AMOUNTS, requests=_AMOUNTS),
)
_TERMS: Final = _list(_object(matchFields=_list(_object()), matchExpressions=_list(_object())))
_SPEC: Final = _object(
    nodeName=_text,
    schedulerName=_text,
    runtimeClassName=_text,
    tolerations=_list(_object(key=_text, operator=_text, effect=_text)),
    schedulingGates=_list(_object(("name",), name=_text)),
    volumes=_list(_object(("name",), name=_text)),
    affinity=_object(
        nodeAffinity=_object(requiredDuringSchedulingIgnoredDuringExecution=_object(nodeSelectorTerms=_TERMS))
    ),
    initContainers=_list(_CONTAINER),
    containers=_list(_CONTAINER),
    ephemeralContainers=_list(_CONTAINER),
)
_OWNER: Final = _object(kind=_text, name=_text, uid=_text)
_METADATA: Final = _object(
    name=_text,
    generateName=_text,
    annotations=_mapping(_text),
    labels=_mapping(_text),
    ownerReferences=_list(_OWNER),
)
_POD: Final = _object(metadata=_METADATA, spec=_SPEC)
