"""Role-based access control of service accounts, where the server is told to enforce it.

All other users are the cluster's own parts and its administrator, who may do everything. Paths that are no resources
(discovery, health, version) are everybody's, as are reviews of oneself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver import status
from devcluster.apiserver.call import Call, User
from devcluster.apiserver.machine import Machine

Json = dict[str, Any]
_GROUP = "rbac.authorization.k8s.io"
_ACCOUNT = "system:serviceaccount:"
_OWN_REVIEWS = {"selfsubjectreviews", "selfsubjectaccessreviews"}


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to do.

    Attributes:
        verb: Kubernetes' word for it.
        group: API group of the resource.
        resource: with its subresource, such as `pods/status`.
        namespace: empty: all of them, or a resource without.
        name: of the object; empty where none is named.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def check(call: Call, verb: str, machine: Machine) -> None:
    """Let a request pass, or not.

    Raises:
        ApiError: 403.
    """
    request = _request_of(call, verb)
    if request.resource in _OWN_REVIEWS or allowed(call.user, request, machine):
        return
    where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    plural, group = call.resource.plural, request.group
    shown = f"{plural}.{group}" if group else plural
    named = f'{shown} "{request.name}"' if request.name else shown
    message = (
        f'{named} is forbidden: User "{call.user.username}" cannot {verb} resource "{request.resource}" in API group '
        f'"{group}" {where}'
    )
    raise status.ApiError(403, "Forbidden", message, details=status.details_of(group, plural, request.name))


def allowed(user: User, request: Request, machine: Machine) -> bool:
    """Whether a rule that is bound to the user allows it."""
    if not user.username.startswith(_ACCOUNT):
        return True
    return any(rule_allows(rule, request) for rule in _rules(user, request.namespace, machine))


def rule_allows(rule: Mapping[str, Any], request: Request) -> bool:
    """One rule. Names restrict it to requests that name an object, which a creation does not."""
    names = rule.get("resourceNames") or ()
    _, _, sub = request.resource.partition("/")
    spelled = {"*", request.resource, *([f"*/{sub}"] if sub else [])}
    return (
        bool({"*", request.verb} & set(rule.get("verbs") or ()))
        and bool({"*", request.group} & set(rule.get("apiGroups") or ()))
        and bool(spelled & set(rule.get("resources") or ()))
        and (not names or (request.name in names and request.verb != "create"))
    )


def _request_of(call: Call, verb: str) -> Request:
    target = call.target
    sub = f"/{target.subresource.name}" if target.subresource else ""
    name = target.name or _named_by_selector(call)
    return Request(verb, target.resource.group, target.resource.plural + sub, target.namespace, name)


def _named_by_selector(call: Call) -> str:
    """A list or watch of one object by its name counts as a request that names it."""
    for part in call.query.get("fieldSelector", "").split(","):
        key, _, value = part.replace("==", "=").partition("=")
        if key == "metadata.name":
            return value
    return ""


def _rules(user: User, namespace: str, machine: Machine) -> Iterator[Mapping[str, Any]]:
    store = machine.store
    for binding in store.collection(f"{_GROUP}/clusterrolebindings").entries(""):
        if _binds(binding.obj, user):
            yield from _role(binding.obj, "", machine)
    if namespace:
        for binding in store.collection(f"{_GROUP}/rolebindings").entries(namespace):
            if _binds(binding.obj, user):
                yield from _role(binding.obj, namespace, machine)


def _binds(binding: Json, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "ServiceAccount" and user.username == f"{_ACCOUNT}{subject.get('namespace', '')}:{name}":
            return True
        if (kind == "User" and name == user.username) or (kind == "Group" and name in user.groups):
            return True
    return False


def _role(binding: Json, namespace: str, machine: Machine) -> Iterator[Mapping[str, Any]]:
    reference = binding.get("roleRef") or {}
    cluster = reference.get("kind") == "ClusterRole"
    collection = machine.store.collection(f"{_GROUP}/{'clusterroles' if cluster else 'roles'}")
    role = collection.get("" if cluster else namespace, reference.get("name", ""))
    if role is not None:
        yield from role.obj.get("rules") or ()
