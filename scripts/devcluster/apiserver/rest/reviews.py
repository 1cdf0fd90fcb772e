"""Resources that are only asked, never kept: token and access reviews, and bindings by collection."""

from typing import Any

from devcluster.apiserver import codec, status
from devcluster.apiserver.call import Call, Target
from devcluster.apiserver.identity import Tokens
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.resources import BY_PATH
from devcluster.apiserver.rest import binding

Json = dict[str, Any]


async def create(call: Call, machine: Machine, tokens: Tokens) -> Json:
    """Answer a review.

    Raises:
        ApiError: 400 for a body of another kind.
    """
    body = codec.parse_body(call)
    resource = call.resource
    if resource.kind == "Binding":
        return await _bind(body, call, machine)
    codec.check_kind(body, group_version=resource.group_version, kind=resource.kind)
    head: Json = {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": {}}
    spec = body.get("spec") or {}
    if resource.kind == "TokenReview":
        return {**head, "spec": spec, "status": _token_status(str(spec.get("token", "")), machine, tokens)}
    if resource.kind == "SelfSubjectReview":
        return {**head, "status": {"userInfo": call.user.as_json()}}
    return {**head, "spec": spec, "status": {"allowed": True, "reason": "this server has no authorizer"}}


def _token_status(token: str, machine: Machine, tokens: Tokens) -> Json:
    user = tokens.user(token, now=machine.clock())
    if user is None:
        return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
    return {"authenticated": True, "user": user.as_json()}


async def _bind(body: Json, call: Call, machine: Machine) -> Json:
    """A binding posted to the namespace's `bindings`: the same as the pod's own."""
    pods = BY_PATH["", "v1", "pods"]
    name = (body.get("metadata") or {}).get("name")
    if not name:
        raise status.bad_request("name is required")
    call.target = Target(pods, call.target.namespace, str(name), pods.by_name["binding"])
    return await binding.bind(call, machine)
