r"""Protobuf bodies of the few kinds that kubectl insists on sending so, decoded by field tables.

The wire format: the magic `k8s\0`, then an Unknown message (type meta, raw object bytes).
"""

import base64
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from devcluster.apiserver.protofields import MESSAGES

Json = dict[str, Any]
_MAGIC = b"k8s\x00"
_ZERO_MEANS_ZERO = {
    "replicas", "gracePeriodSeconds", "parallelism", "completions", "backoffLimit", "value", "immutable",
    "automountServiceAccountToken", "revisionHistoryLimit",
}  # fmt: skip


class ProtobufError(ValueError):
    """The body is no message that this server reads."""


def decode_envelope(body: bytes) -> Json:
    """The object inside a body, as JSON.

    Raises:
        ProtobufError: no magic, a kind without a table, a truncated message.
    """
    if not body.startswith(_MAGIC):
        raise ProtobufError("the body is no Kubernetes protobuf: its first four bytes are not k8s\\0")
    envelope = decode_message("Unknown", body[len(_MAGIC) :])
    meta = envelope.get("typeMeta", {})
    kind = meta.get("kind", "")
    if kind not in MESSAGES:
        raise ProtobufError(f"kind {kind!r} cannot be sent as protobuf to this server: send it as JSON")
    obj = decode_message(kind, envelope.get("raw", b""))
    return {"kind": kind, "apiVersion": meta.get("apiVersion", ""), **obj}


def decode_message(name: str, data: bytes) -> Json:
    """One message by its field table.

    Raises:
        ProtobufError: truncated or of an unknown wire type.
    """
    table = MESSAGES[name]
    obj: Json = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value, position = _raw(data, position, tag & 7)
        declared = table.get(tag >> 3)
        if declared is None:
            continue
        field, kind = declared
        _store(obj, field, kind, value)
    return obj


def _store(obj: Json, field: str, kind: str, value: Any) -> None:
    """Set one field; kinds are scalars, `Message`, `[kind]` for lists and `{kind}` for maps with string keys."""
    if kind.startswith("["):
        obj.setdefault(field, []).append(_value(kind[1:-1], value))
    elif kind.startswith("{"):
        key, item = _map_entry(kind[1:-1], value)
        obj.setdefault(field, {})[key] = item
    else:
        decoded = _value(kind, value)
        # Fields without a pointer are on the wire even when they are not set.
        if decoded not in ("", False) or field in _ZERO_MEANS_ZERO:
            obj[field] = decoded


def _map_entry(kind: str, data: bytes) -> tuple[str, Any]:
    key, item, position = "", _value(kind, b"") if kind in {"string", "bytes64"} else None, 0
    while position < len(data):
        tag, position = _varint(data, position)
        raw, position = _raw(data, position, tag & 7)
        if tag >> 3 == 1:
            key = raw.decode()
        elif tag >> 3 == 2:
            item = _value(kind, raw)
    return key, item


def _value(kind: str, value: Any) -> Any:
    convert = _SCALARS.get(kind)
    return convert(value) if convert else decode_message(kind, value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _moment(value: bytes) -> str:
    seconds = decode_message("Timestamp", value).get("seconds", 0)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _int_or_string(value: bytes) -> int | str:
    either = decode_message("IntOrString", value)
    found: int | str = either.get("strVal", "") if either.get("type") else either.get("intVal", 0)
    return found


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "string": bytes.decode,
    "bytes": bytes,
    "bytes64": lambda value: base64.b64encode(value).decode(),
    "bool": bool,
    "int": _signed,
    "time": _moment,
    "intstr": _int_or_string,
    "quantity": lambda value: decode_message("Quantity", value).get("string", "0"),
}


def _varint(data: bytes, position: int) -> tuple[int, int]:
    shift = result = 0
    while True:
        if position >= len(data):
            raise ProtobufError("the protobuf message is truncated")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, position
        shift += 7


def _raw(data: bytes, position: int, wire: int) -> tuple[Any, int]:
    if wire == 0:
        return _varint(data, position)
    if wire == 1:
        return struct.unpack_from("<Q", data, position)[0], position + 8
    if wire == 5:
        return struct.unpack_from("<I", data, position)[0], position + 4
    if wire != 2:
        raise ProtobufError(f"unknown protobuf wire type {wire}")
    length, position = _varint(data, position)
    if position + length > len(data):
        raise ProtobufError("the protobuf message is truncated")
    return data[position : position + length], position + length
