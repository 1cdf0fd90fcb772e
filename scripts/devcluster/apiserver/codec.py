"""Bodies in, objects out: JSON, YAML and protobuf, checked against the type and set to defaults."""

from typing import Any

import orjson
import yaml

from devcluster.apiserver import events, negotiate, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.decode import Decoder
from devcluster.apiserver.kinds import strategy_of
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.protobuf import ProtobufError, decode_envelope
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.schema import Type

Json = dict[str, Any]


def parse_body(call: Call) -> Json:
    """The request's body as a tree.

    Raises:
        ApiError: 415 for another media type, 400 for what does not parse.
    """
    media = negotiate.body_type(call.headers.get("Content-Type", ""), patch=False)
    if media == negotiate.PROTOBUF:
        try:
            return decode_envelope(call.body)
        except ProtobufError as error:
            raise status.bad_request(str(error)) from error
    return parse_text(call.body, yaml_too=media == negotiate.YAML)


def parse_text(body: bytes, *, yaml_too: bool) -> Json:
    """JSON, or YAML where allowed.

    Raises:
        ApiError: 400.
    """
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not yaml_too:
            raise status.bad_request(f"error decoding the body as JSON: {error}") from error
        tree = _yaml(body)
    if not isinstance(tree, dict):
        raise status.bad_request("the body of the request is no object")
    return tree


def _yaml(body: bytes) -> Any:
    try:
        # YAML timestamps become datetimes: go through the base loader's strings would lose numbers, so dump them.
        return orjson.loads(orjson.dumps(yaml.safe_load(body)))
    except (yaml.YAMLError, TypeError) as error:
        raise status.bad_request(f"error converting YAML to JSON: {error}") from error


def check_kind(tree: Json, *, group_version: str, kind: str) -> None:
    """Refuse a body of another kind or version; absent ones are taken from the path.

    Raises:
        ApiError: 400.
    """
    given_kind, given_version = tree.get("kind") or kind, tree.get("apiVersion") or group_version
    if given_kind == kind and given_version == group_version:
        return
    if given_kind != kind:
        message = (
            f'{given_kind} in version "{given_version}" cannot be handled as a {kind}: no kind "{given_kind}" matches'
        )
    else:
        message = (
            f"the API version in the data ({given_version}) does not match the expected API version ({group_version})"
        )
    raise status.bad_request(message)


def typed(tree: Json, declared: Type, call: Call, *, kind: str, version: str) -> Json:
    """The tree in stored form: unknown fields dropped, and refused or warned about.

    Raises:
        ApiError: 400 for wrong types, and for unknown fields under strict validation.
    """
    decoder = Decoder()
    try:
        decoded: Json = decoder.decode(declared, tree, "")
    except ValueError as error:
        raise status.bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {error}') from error
    if decoder.unknown:
        _report_unknown(decoder.unknown, call, kind=kind, version=version)
    decoded.pop("kind", None)
    decoded.pop("apiVersion", None)
    if not isinstance(decoded.get("metadata"), dict):
        decoded["metadata"] = {}
    return decoded


def _report_unknown(unknown: list[str], call: Call, *, kind: str, version: str) -> None:
    found = [f'unknown field "{path}"' for path in unknown]
    if call.validation == "Warn":
        call.warnings.extend(found)
    elif call.validation == "Strict":
        what = f"strict decoding error: {', '.join(found)}"
        if call.method == "PATCH":
            shown = f'Invalid value: "{call.body.decode(errors="replace")}": {what}'
            raise status.ApiError(
                422,
                "Invalid",
                f' "" is invalid: patch: {shown}',
                details={"causes": [status.Cause("patch", shown).as_json()]},
            )
        raise status.bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {what}')


def read_object(tree: Json, call: Call, machine: Machine) -> Json:
    """A body of the called resource, in stored form with defaults.

    Raises:
        ApiError: 400.
    """
    resource = call.resource
    check_kind(tree, group_version=resource.group_version, kind=resource.kind)
    if resource.group == events.GROUP:
        tree = events.to_core(tree)
    obj = typed(tree, machine.type_of(resource), call, kind=resource.kind, version=resource.group_version)
    return complete(obj, resource)


def complete(obj: Json, resource: Resource) -> Json:
    """Set defaults; put kind and apiVersion first, where list encoding expects them."""
    version = "v1" if resource.storage == "events" else resource.group_version
    whole = {"kind": resource.kind, "apiVersion": version, **obj}
    strategy_of(resource).default(whole)
    return whole


def retyped(obj: Json, resource: Resource, machine: Machine) -> Json:
    """An object that a webhook patched, in stored form again.

    Raises:
        ApiError: 500 when it no longer is one of its kind.
    """
    try:
        decoded: Json = Decoder().decode(machine.type_of(resource), obj, "")
    except ValueError as error:
        raise status.internal(f"the object does not decode after a webhook patched it: {error}") from error
    decoded.pop("kind", None)
    decoded.pop("apiVersion", None)
    decoded.setdefault("metadata", {})
    return complete(decoded, resource)
