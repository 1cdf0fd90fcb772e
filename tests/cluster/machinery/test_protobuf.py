"""Protobuf bodies, decoded by field tables."""

import pytest
from devcluster.apiserver.protobuf import ProtobufError, decode_envelope


def field(number: int, value: bytes | int) -> bytes:
    """One field: bytes are length-delimited, integers varints (small ones here)."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def envelope(kind: bytes, raw: bytes) -> bytes:
    """The body of a request."""
    return b"k8s\x00" + field(1, field(1, b"v1") + field(2, kind)) + field(2, raw)


def entry(key: bytes, value: bytes) -> bytes:
    """One entry of a map."""
    return field(1, key) + field(2, value)


def test_config_map() -> None:
    """Metadata, strings, binary data and booleans; unset strings are left out, unknown fields passed over."""
    meta = field(1, b"m") + field(2, b"") + field(11, entry(b"a", b"b")) + field(15, b"??")
    raw = (
        field(1, meta)
        + field(2, entry(b"k", b"v"))
        + field(2, entry(b"e", b""))
        + field(3, entry(b"b", b"\x00"))
        + field(4, 1)
    )
    assert decode_envelope(envelope(b"ConfigMap", raw)) == {
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m", "labels": {"a": "b"}},
        "data": {"k": "v", "e": ""}, "binaryData": {"b": "AA=="}, "immutable": True,
    }  # fmt: skip


def test_eviction() -> None:
    """Zero seconds of grace are zero, not absent."""
    raw = field(1, field(1, b"p")) + field(2, field(1, 0) + field(2, field(1, b"uid")))
    options = decode_envelope(envelope(b"Eviction", raw))["deleteOptions"]
    assert options == {"gracePeriodSeconds": 0, "preconditions": {"uid": "uid"}}


@pytest.mark.parametrize(
    "body", [b"", b"k8s", b"{}", envelope(b"Unheard", b""), envelope(b"ConfigMap", b"\x0a\x7f"), b"k8s\x00\x0a\xff"]
)
def test_refusals(body: bytes) -> None:
    """Bodies without the magic, of unknown kinds, or cut short are refused."""
    with pytest.raises(ProtobufError):
        decode_envelope(body)
