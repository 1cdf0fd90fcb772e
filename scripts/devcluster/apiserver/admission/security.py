"""Pod Security: the levels `baseline` and `restricted`, as far as this project meets them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from devcluster.apiserver.admission.lifecycle import refusal
from devcluster.apiserver.machine import Attributes, Machine

Json = dict[str, Any]
_ENFORCE = "pod-security.kubernetes.io/enforce"
_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_PROFILES = {"RuntimeDefault", "Localhost"}


def check(attributes: Attributes, machine: Machine) -> None:
    """Refuse a pod that its namespace's level forbids, with everything that is wrong with it.

    Raises:
        ApiError: 403.
    """
    namespace = machine.store.collection("/namespaces").get("", attributes.namespace)
    level = ((namespace.obj["metadata"].get("labels") or {}) if namespace else {}).get(_ENFORCE, "privileged")
    spec: Json = (attributes.obj or {}).get("spec") or {}
    if level == "baseline":
        found = [*_host_namespaces(spec), *_host_paths(spec), *_privileged(spec)]
    elif level == "restricted":
        found = [
            *_escalation(spec),
            *_capabilities(spec),
            *_host_namespaces(spec),
            *_privileged(spec),
            *_volumes(spec),
            *_root(spec),
            *_seccomp(spec),
        ]
    else:
        return
    if found:
        raise refusal(attributes, f'violates PodSecurity "{level}:latest": {", ".join(found)}')


def _containers(spec: Json) -> list[Json]:
    return [one for key in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(key) or ()]


def _context(of: Json) -> Json:
    context: Json = of.get("securityContext") or {}
    return context


def _named(word: str, names: Iterable[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return f"{word}{'' if len(quoted) == 1 else 's'} {', '.join(quoted)}"


def _bad(spec: Json, good: Callable[[Json], bool]) -> str:
    """The containers that are not good, in words; empty: all are."""
    names = [one["name"] for one in _containers(spec) if not good(one)]
    return _named("container", names) if names else ""


def _host_namespaces(spec: Json) -> Iterator[str]:
    names = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    if names:
        yield f"host namespaces ({', '.join(names)})"


def _host_paths(spec: Json) -> Iterator[str]:
    names = [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]
    if names:
        yield f"hostPath volumes ({_named('volume', names)})"


def _privileged(spec: Json) -> Iterator[str]:
    if bad := _bad(spec, lambda one: not _context(one).get("privileged")):
        yield f"privileged ({bad} must not set securityContext.privileged=true)"


def _volumes(spec: Json) -> Iterator[str]:
    kinds = {
        volume["name"]: next((key for key in volume if key != "name"), "")
        for volume in spec.get("volumes") or ()
        if not _VOLUMES & volume.keys()
    }
    for kind in dict.fromkeys(kinds.values()):
        names = [name for name, its in kinds.items() if its == kind]
        use = "uses" if len(names) == 1 else "use"
        yield f'restricted volume types ({_named("volume", names)} {use} restricted volume type "{kind}")'


def _escalation(spec: Json) -> Iterator[str]:
    if bad := _bad(spec, lambda one: _context(one).get("allowPrivilegeEscalation") is False):
        yield (f"allowPrivilegeEscalation != false ({bad} must set securityContext.allowPrivilegeEscalation=false)")


def _capabilities(spec: Json) -> Iterator[str]:
    def good(one: Json) -> bool:
        capabilities = _context(one).get("capabilities") or {}
        return "ALL" in (capabilities.get("drop") or ()) and set(capabilities.get("add") or ()) <= {"NET_BIND_SERVICE"}

    if bad := _bad(spec, good):
        yield f'unrestricted capabilities ({bad} must set securityContext.capabilities.drop=["ALL"])'


def _root(spec: Json) -> Iterator[str]:
    pod = _context(spec).get("runAsNonRoot")
    if bad := _bad(spec, lambda one: _context(one).get("runAsNonRoot", pod) is True):
        yield f"runAsNonRoot != true (pod or {bad} must set securityContext.runAsNonRoot=true)"


def _seccomp(spec: Json) -> Iterator[str]:
    pod = _context(spec).get("seccompProfile")

    def good(one: Json) -> bool:
        return ((_context(one).get("seccompProfile") or pod) or {}).get("type") in _PROFILES

    if bad := _bad(spec, good):
        yield (
            f'seccompProfile (pod or {bad} must set securityContext.seccompProfile.type to "RuntimeDefault" or '
            '"Localhost")'
        )
