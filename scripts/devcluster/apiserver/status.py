"""Errors as the API speaks them: one exception carrying a metav1.Status, and a constructor per reason.

Messages are those a real server sends, because kubectl and client libraries print and match them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """One wrong field: its path, what is wrong, and the machine-readable reason."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def as_json(self) -> Json:
        """The cause as it stands in `details.causes`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    """A refusal: everything the client gets, ready to be encoded."""

    def __init__(self, code: int, reason: str, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def as_json(self) -> Json:
        """The metav1.Status object."""
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details is not None:
            status["details"] = dict(self.details)
        status["code"] = self.code
        return status


def qualified(group: str, plural: str) -> str:
    """`pods`, `deployments.apps`."""
    return f"{plural}.{group}" if group else plural


def details_of(group: str, kind: str, name: str = "") -> Json:
    """`details` of an error about one object."""
    details: Json = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details


def not_found(group: str, plural: str, name: str) -> ApiError:
    """404 for one object."""
    message = f'{qualified(group, plural)} "{name}" not found'
    return ApiError(404, "NotFound", message, details=details_of(group, plural, name))


def no_such_path() -> ApiError:
    """404 for a path that the server does not serve."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(group: str, plural: str, name: str) -> ApiError:
    """409 on create."""
    message = f'{qualified(group, plural)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=details_of(group, plural, name))


def conflict(group: str, plural: str, name: str, *, why: str = "") -> ApiError:
    """409 on a stale write; `why` replaces the usual sentence."""
    because = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {because}'
    return ApiError(409, "Conflict", message, details=details_of(group, plural, name))


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 with every wrong field named."""
    errors = [f"{cause.field}: {cause.message}" for cause in causes]
    text = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
    details = details_of(group, kind, name)
    details["causes"] = [cause.as_json() for cause in causes]
    shown = f"{kind}.{group}" if group else kind
    return ApiError(422, "Invalid", f'{shown} "{name}" is invalid: {text}', details=details)


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def forbidden(group: str, plural: str, name: str, *, why: str) -> ApiError:
    """403 by an admission plugin."""
    message = f'{qualified(group, plural)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, details=details_of(group, plural, name))


def unauthorized() -> ApiError:
    """401: no token, or one that nobody issued."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed(group: str, plural: str, verb: str) -> ApiError:
    """405: the resource has no such verb."""
    message = f"{verb} is not supported on resources of kind {qualified(group, plural)!r}".replace("'", '"')
    return ApiError(405, "MethodNotAllowed", message, details=details_of(group, plural))


def internal(message: str) -> ApiError:
    """500 with the server's usual prefix."""
    details = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", details=details)


def expired(message: str) -> ApiError:
    """410: what was asked for has left the window."""
    return ApiError(410, "Expired", message)


def too_large_version(asked: int, current: int) -> ApiError:
    """504 for a resource version from the future."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, details=details)


def too_many_requests(message: str, *, causes: Sequence[Mapping[str, Any]] = ()) -> ApiError:
    """429: an eviction that a budget forbids for now."""
    details: Json = {"retryAfterSeconds": 10} if not causes else {"causes": [dict(cause) for cause in causes]}
    return ApiError(429, "TooManyRequests", message, details=details)


def too_large(limit: int) -> ApiError:
    """413: a body over the limit in bytes."""
    message = f"Request entity too large: limit is {limit}"
    return ApiError(413, "RequestEntityTooLarge", message, details={})


def not_acceptable() -> ApiError:
    """406: none of the accepted types is served."""
    types = (
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json;stream=watch",
        "application/vnd.kubernetes.protobuf;stream=watch",
    )
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(types)}"
    return ApiError(406, "NotAcceptable", message, details={})


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    """415: a body of a type that the verb does not take."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return ApiError(415, "UnsupportedMediaType", message)
