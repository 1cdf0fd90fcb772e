"""ResourceQuota: counted anew from what exists, at the last moment before a creation is stored."""

from fractions import Fraction
from typing import Any

from devcluster.apiserver.admission.lifecycle import refusal
from devcluster.apiserver.machine import Attributes, Machine
from devcluster.apiserver.quantity import canonical, parse

Json = dict[str, Any]
Usage = dict[str, Fraction]
_ENDED = {"Succeeded", "Failed"}
_LIMITED = {"cpu", "memory", "ephemeral-storage"}
_COUNTED = {"/configmaps", "/secrets", "/services", "/persistentvolumeclaims", "/replicationcontrollers"}


def check(attributes: Attributes, machine: Machine) -> None:
    """Refuse what would exceed a quota of the namespace; note the new use in its status.

    Raises:
        ApiError: 403.
    """
    quotas = machine.store.collection("/resourcequotas")
    if not attributes.resource.namespaced or not quotas.count(attributes.namespace) or attributes.obj is None:
        return
    asked = usage_of(attributes.obj, attributes.resource.storage)
    for entry in quotas.entries(attributes.namespace):
        hard: Json = (entry.obj.get("spec") or {}).get("hard") or {}
        _require(attributes, entry.name, hard)
        used = _used(hard, attributes.namespace, machine)
        over = [
            name
            for name in sorted(hard)
            if asked.get(name) and used.get(name, Fraction()) + asked[name] > parse(hard[name])
        ]
        if over:
            raise refusal(
                attributes,
                f"exceeded quota: {entry.name}, requested: {_shown(asked, over)}, used: {_shown(used, over)}, "
                f"limited: {','.join(f'{name}={hard[name]}' for name in over)}",
            )
        if not attributes.dry_run:
            total = {
                name: _text(used.get(name, Fraction()) + asked.get(name, Fraction()))
                for name in hard
                if _measured(name)
            }
            status = {"hard": hard, "used": total}
            if entry.obj.get("status") != status:
                new = {**entry.obj, "status": status}
                quotas.write(new, namespace=entry.namespace, name=entry.name, expected=entry)


def _require(attributes: Attributes, quota: str, hard: Json) -> None:
    """A quota of CPU or memory makes every container say what it takes."""
    if attributes.resource.storage != "/pods":
        return
    for key in sorted(hard):
        kind, _, name = key.partition(".") if "." in key else ("requests", "", key)
        if kind not in {"requests", "limits"} or name not in {"cpu", "memory"}:
            continue
        lacking = [
            container["name"]
            for container in (attributes.obj or {})["spec"].get("containers") or ()
            if name not in ((container.get("resources") or {}).get(kind) or {})
        ]
        if lacking:
            raise refusal(attributes, f"failed quota: {quota}: must specify {key} for: {','.join(lacking)}")


def _used(hard: Json, namespace: str, machine: Machine) -> Usage:
    total: Usage = {}
    storages = {"/pods", *_COUNTED} | {_storage(name) for name in hard if name.startswith("count/")}
    for storage in storages:
        for entry in machine.store.collection(storage).unsorted(namespace):
            if storage == "/pods" and (entry.obj.get("status") or {}).get("phase") in _ENDED:
                continue
            for name, value in usage_of(entry.obj, storage).items():
                total[name] = total.get(name, Fraction()) + value
    return total


def _measured(name: str) -> bool:
    """Is there a use of it to report?"""
    kind, _, rest = name.partition(".")
    return kind != "limits" or rest in _LIMITED


def _storage(count: str) -> str:
    """`count/deployments.apps` is counted in `apps/deployments`."""
    plural, _, group = count.removeprefix("count/").partition(".")
    return f"{group}/{plural}"


def usage_of(obj: Json, storage: str) -> Usage:
    """What one object takes of every quota that could count it."""
    group, _, plural = storage.rpartition("/")
    usage: Usage = {f"count/{plural}.{group}" if group else f"count/{plural}": Fraction(1)}
    if storage in _COUNTED:
        usage[plural] = Fraction(1)
    if storage != "/pods":
        return usage
    usage["pods"] = Fraction(1)
    for container in obj["spec"].get("containers") or ():
        resources = container.get("resources") or {}
        for kind in ("requests", "limits"):
            for name, value in (resources.get(kind) or {}).items():
                if kind == "limits" and name not in _LIMITED:
                    continue  # a quota of limits counts these alone
                keys = [f"{kind}.{name}"] + ([name] if kind == "requests" and "/" not in name else [])
                for key in keys:
                    usage[key] = usage.get(key, Fraction()) + parse(value)
    return usage


def _text(value: Fraction) -> str:
    return (
        canonical(str(value.numerator))
        if value.denominator == 1
        else f"{-(-value.numerator * 1000 // value.denominator)}m"
    )


def _shown(usage: Usage, names: list[str]) -> str:
    return ",".join(f"{name}={_text(usage.get(name, Fraction()))}" for name in names)
