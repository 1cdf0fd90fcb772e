"""One API request, taken apart: what it asks for, by whom, with which options."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devcluster.apiserver import status
from devcluster.apiserver.resources import BY_PATH, GROUP_VERSIONS, Resource, Subresource

Json = dict[str, Any]
_TRUE = {"1", "t", "T", "true", "True", "TRUE"}
_METHODS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "HEAD": "get"}


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as admission reviews show it."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> Json:
        """The userInfo of an admission review."""
        info: Json = {"username": self.username}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: Subresource | None = None

    @property
    def all_namespaces(self) -> bool:
        """A collection of a namespaced resource, asked for without a namespace."""
        return self.resource.namespaced and not self.namespace


@dataclass(slots=True)
class Call:
    """A request on its way through the server."""

    method: str
    target: Target
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    user: User
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)

    @property
    def resource(self) -> Resource:
        """The resource that the path names."""
        return self.target.resource

    def flag(self, name: str) -> bool:
        """A boolean option of the query, in any of the spellings clients use."""
        return self.query.get(name, "") in _TRUE

    def number(self, name: str) -> int | None:
        """A whole-number option of the query.

        Raises:
            ApiError: 400 for anything else.
        """
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None

    @property
    def dry_run(self) -> bool:
        """Must nothing be stored?

        Raises:
            ApiError: 422 for a value other than All.
        """
        value = self.query.get("dryRun", "")
        if value and value != "All":
            cause = status.Cause(
                "dryRun", f'Unsupported value: ["{value}"]: supported values: "All"', "FieldValueNotSupported"
            )
            raise status.invalid("meta.k8s.io", "CreateOptions", "", [cause])
        return bool(value)

    @property
    def manager(self) -> str:
        """Who owns the fields that this request writes: fieldManager, else the client's name."""
        named = self.query.get("fieldManager")
        if named:
            return named
        agent = self.headers.get("User-Agent", "").split("/", 1)[0]
        return "".join(char for char in agent if char.isprintable())[:128] or "unknown"

    @property
    def validation(self) -> str:
        """Strict, Warn (default) or Ignore.

        Raises:
            ApiError: 422 for anything else.
        """
        value = self.query.get("fieldValidation") or "Warn"
        if value not in {"Strict", "Warn", "Ignore"}:
            wrong = f'Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"'
            raise status.invalid(
                "meta.k8s.io", "CreateOptions", "", [status.Cause("fieldValidation", wrong, "FieldValueNotSupported")]
            )
        return value


_RESOURCE_PATH = re.compile(r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/(?P<rest>.+)$")


def parse_target(path: str) -> Target:
    """The object or collection that a path names.

    Raises:
        ApiError: 404 for paths that are not served.
    """
    match = _RESOURCE_PATH.match(path)
    if match is None:
        raise status.no_such_path()
    group, version = match["group"] or "", match["version"] or "v1"
    if (group, version) not in GROUP_VERSIONS:
        raise status.no_such_path()
    parts = match["rest"].strip("/").split("/")
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and not _is_namespace_path(group, parts):
        namespace, parts = parts[1], parts[2:]
    resource = BY_PATH.get((group, version, parts[0]))
    if resource is None or len(parts) > 3 or (namespace and not resource.namespaced):
        raise status.no_such_path()
    name = parts[1] if len(parts) > 1 else ""
    if name and resource.namespaced and not namespace:
        raise status.no_such_path()
    subresource = None
    if len(parts) == 3:
        subresource = resource.by_name.get(parts[2])
        if subresource is None:
            raise status.no_such_path()
    return Target(resource, namespace, name, subresource)


def _is_namespace_path(group: str, parts: list[str]) -> bool:
    """Is `namespaces/NAME/X` a subresource of the namespace itself?"""
    return not group and len(parts) == 3 and parts[2] in {"finalize", "status"}


def verb_of(method: str, target: Target, *, watching: bool) -> str:
    """The API verb, refused with 405 where the resource has none such."""
    verb = _METHODS.get(method, "")
    if not target.name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if watching and verb == "list":
        verb = "watch"
    allowed = target.subresource.verbs if target.subresource else target.resource.verbs
    if verb == "create" and target.name and not target.subresource:
        verb = ""
    if verb in {"update", "patch"} and not target.name:
        verb = ""
    if verb not in allowed:
        raise ApiMethodError(method)
    return verb


class ApiMethodError(status.ApiError):
    """405 as the server's router sends it."""

    def __init__(self, method: str) -> None:
        message = "the server does not allow this method on the requested resource"
        super().__init__(405, "MethodNotAllowed", message, details={})
        self.method = method
