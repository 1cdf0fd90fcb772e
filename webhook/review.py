"""AdmissionReview, admission.k8s.io/v1: reading a question and writing an answer, without HTTP.

Whatever comes in, an answer can be given: the API server takes anything else than an answer for a failure of the
webhook and tells the user nothing of use.
"""

import base64
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import jsonpatch
import orjson

from allocator.api.errors import VramshareError

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
LONGEST_WARNING: Final = 120
"""kubectl cuts, and the API server drops, much longer ones."""
_MOST_LINES: Final = 4


class ReviewError(VramshareError):
    """Not a review that can be answered. `uid` is that of the request where it could be read, else empty."""

    def __init__(self, message: str, *, uid: str = "") -> None:
        self.uid = uid
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Review:
    """The question.

    Attributes:
        uid: names this one call; new on each, also for the same pod.
        operation: CREATE, UPDATE, DELETE or CONNECT.
        kind: of the object.
        group: API group of its resource; empty for core.
        subresource: empty for the object itself.
        namespace: the object's, which the object itself may lack.
        pod: the object; None on DELETE.
        old: the object as stored; None on CREATE.
        dry_run: whether nothing may be written anywhere.
        user: who asks.
    """

    uid: str
    operation: str
    kind: str
    group: str
    subresource: str
    namespace: str
    pod: Mapping[str, Any] | None
    old: Mapping[str, Any] | None
    dry_run: bool
    user: str

    @property
    def name(self) -> str:
        """The object's name; `prefix-*` where the API server will make one up."""
        metadata = (self.pod or self.old or {}).get("metadata")
        if not isinstance(metadata, dict):  # nobody has looked at the object yet
            return ""
        prefix = metadata.get("generateName")
        return str(metadata.get("name") or (f"{prefix}*" if prefix else ""))


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer.

    Attributes:
        allowed: whether the request goes on.
        patch: what is changed; None or empty: nothing.
        warnings: shown to the user.
        audit: written into the audit log, each under our webhook's name.
        code: HTTP status of a denial, as the user sees it.
        reason: Kubernetes' word for it, such as `Invalid`.
        message: why, in full.
        retry_after: seconds after which the same request may succeed; None: no such promise.
    """

    allowed: bool = True
    patch: jsonpatch.JsonPatch | None = None
    warnings: tuple[str, ...] = ()
    audit: Mapping[str, str] | None = None
    code: int = HTTPStatus.OK
    reason: str = ""
    message: str = ""
    retry_after: int | None = None


def parse(body: bytes) -> Review:
    """Read a question.

    Raises:
        ReviewError: not JSON, not a review of version v1, or without what every review has.
    """
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as reason:
        raise ReviewError(f"the body is not JSON: {reason}") from None
    request = review.get("request") if isinstance(review, dict) else None
    if not isinstance(request, dict):
        raise ReviewError("the body is no AdmissionReview with a request")
    uid = request.get("uid")
    uid = uid if isinstance(uid, str) else ""
    if review.get("kind") != KIND or review.get("apiVersion") != API_VERSION:
        raise ReviewError(f"only {KIND} of {API_VERSION} is answered; set admissionReviewVersions to v1", uid=uid)
    kind = _mapping(request, "kind", uid)
    resource = _mapping(request, "resource", uid)
    return Review(
        uid=uid,
        operation=_text(request, "operation", uid),
        kind=_text(kind, "kind", uid),
        group=_text(resource, "group", uid),
        subresource=_text(request, "subResource", uid),
        namespace=_text(request, "namespace", uid),
        pod=_mapping(request, "object", uid) if request.get("object") is not None else None,
        old=_mapping(request, "oldObject", uid) if request.get("oldObject") is not None else None,
        dry_run=request.get("dryRun") is True,
        user=_text(_mapping(request, "userInfo", uid), "username", uid),
    )


def encode(uid: str, answer: Answer) -> bytes:
    """Write an answer to the question with this uid."""
    response: dict[str, Any] = {"uid": uid, "allowed": answer.allowed}
    if answer.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(answer.patch.patch)).decode()
    if answer.warnings:
        response["warnings"] = [part for text in answer.warnings for part in split(text)]
    if answer.audit:
        response["auditAnnotations"] = dict(answer.audit)
    if not answer.allowed:
        response["status"] = _status(answer)
    return orjson.dumps({"apiVersion": API_VERSION, "kind": KIND, "response": response})


def split(text: str, *, limit: int = LONGEST_WARNING) -> list[str]:
    """A warning as lines of at most so many characters, each shown as a warning of its own; none loses its end.

    A line that goes on ends in an ellipsis, and what continues it begins with one. Of a text beyond all measure, which
    only a pod's own names can make, the rest is left out: an API server drops them all when there are too many.
    """
    words = " ".join(text.split())
    lines = textwrap.wrap(words, width=limit - 4, break_on_hyphens=False) if len(words) > limit else [words]
    if len(lines) > _MOST_LINES:
        lines = lines[:_MOST_LINES]
        lines[-1] += " …"
    last = len(lines) - 1
    return [f"{'… ' if at else ''}{line}{' …' if at < last else ''}" for at, line in enumerate(lines)]


def listed(values: Iterable[str]) -> str:
    """Values for one audit annotation."""
    return ",".join(values)


def _status(answer: Answer) -> dict[str, Any]:
    status: dict[str, Any] = {
        "status": "Failure",
        "code": int(answer.code),
        "reason": answer.reason,
        "message": answer.message,
    }
    if answer.retry_after is not None:
        status["details"] = {"retryAfterSeconds": answer.retry_after}
    return status


def _mapping(parent: Mapping[str, Any], key: str, uid: str) -> dict[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ReviewError(f"{key} of the review is no object", uid=uid)
    return value


def _text(parent: Mapping[str, Any], key: str, uid: str) -> str:
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReviewError(f"{key} of the review is no text", uid=uid)
    return value
