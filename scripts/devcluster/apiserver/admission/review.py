"""The AdmissionReview: the question as it is sent, and the answer as it is understood."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from devcluster.apiserver import status
from devcluster.apiserver.machine import Attributes, Machine

Json = dict[str, Any]
_VERSION = "admission.k8s.io/v1"


class ReviewError(Exception):
    """A webhook that cannot be asked, or whose answer is none: subject to its failurePolicy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook said."""

    allowed: bool
    patch: list[Json] = field(default_factory=list)
    status: Json = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    audit: dict[str, str] = field(default_factory=dict)


def question(attributes: Attributes, uid: str) -> bytes:
    """The review of one write, encoded."""
    return orjson.dumps({"kind": "AdmissionReview", "apiVersion": _VERSION, "request": request_of(attributes, uid)})


def request_of(attributes: Attributes, uid: str) -> Json:
    """The request inside the review, which expressions see too."""
    resource = attributes.resource
    kind = {"group": attributes.kind_group, "version": attributes.kind_version, "kind": attributes.kind}
    place = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    request: Json = {"uid": uid, "kind": kind, "resource": place}
    if attributes.sub:
        request["subResource"] = attributes.sub
    request |= {"requestKind": kind, "requestResource": place}
    if attributes.sub:
        request["requestSubResource"] = attributes.sub
    if attributes.name:
        request["name"] = attributes.name
    if attributes.namespace:
        request["namespace"] = attributes.namespace
    request |= {
        "operation": attributes.operation,
        "userInfo": attributes.user.as_json(),
        "object": _object(attributes.obj, attributes),
        "oldObject": attributes.old,
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    }
    return request


def values_of(attributes: Attributes, machine: Machine) -> Json:
    """What expressions may speak about."""
    namespace = machine.store.collection("/namespaces").get("", attributes.namespace)
    request = request_of(attributes, "")
    about = {key: value for key, value in request.items() if key not in {"object", "oldObject"}}
    return {
        "object": request["object"],
        "oldObject": request["oldObject"],
        "request": about,
        "namespaceObject": namespace.obj if namespace else None,
        "params": None,
        "variables": {},
    }


def _object(obj: Json | None, attributes: Attributes) -> Json | None:
    """The object with the status that Go always writes."""
    if obj is None or "status" in obj or "status" not in attributes.resource.by_name or attributes.sub:
        return obj
    return {**obj, "status": {}}


def answer(body: bytes, uid: str) -> Verdict:
    """The verdict in a webhook's response.

    Raises:
        ReviewError: the body is no review, or answers another question.
    """
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReviewError(f"could not get REST client: the answer is no JSON: {error}") from error
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview" or review.get("apiVersion") != _VERSION:
        raise ReviewError(
            f"received invalid webhook response: expected webhook response of {_VERSION}, Kind=AdmissionReview"
        )
    response = review.get("response")
    if not isinstance(response, dict):
        raise ReviewError("received invalid webhook response: webhook response was absent")
    if response.get("uid") != uid:
        got = response.get("uid")
        raise ReviewError(f'received invalid webhook response: expected response.uid="{uid}", got "{got}"')
    return Verdict(
        allowed=bool(response.get("allowed")),
        patch=_patch(response),
        status=response.get("status") or {},
        warnings=tuple(response.get("warnings") or ()),
        audit=response.get("auditAnnotations") or {},
    )


def _patch(response: Json) -> list[Json]:
    encoded = response.get("patch")
    kind = response.get("patchType")
    if not encoded:
        if kind:
            raise ReviewError(
                "received invalid webhook response: webhook returned response.patchType but not response.patch"
            )
        return []
    if kind != "JSONPatch":
        raise ReviewError(
            f'received invalid webhook response: invalid response.patchType="{kind}", expected "JSONPatch"'
        )
    try:
        operations = orjson.loads(base64.b64decode(encoded))
    except (binascii.Error, orjson.JSONDecodeError) as error:
        raise ReviewError(f"received invalid webhook response: the patch does not decode: {error}") from error
    if not isinstance(operations, list):
        raise ReviewError("received invalid webhook response: the patch is no list")
    return operations


def denial(name: str, verdict: Verdict) -> status.ApiError:
    """The refusal as the user gets it: the webhook's own status, with its name in front."""
    given = verdict.status
    message = given.get("message") or given.get("reason")
    by = f'admission webhook "{name}" denied the request'
    text = f"{by}: {message}" if message else f"{by} without explanation"
    code = int(given.get("code") or 0)
    return status.ApiError(max(code, 400), str(given.get("reason") or ""), text, details=given.get("details"))
