"""The files of volumes that the API describes: configMap, secret, downwardAPI, projected. Pure."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from devcluster.kubelet.fields import FieldError, field_value, resource_value
from devcluster.kubelet.sources import ConfigError, Sources

_DEFAULT_MODE = 0o644


@dataclasses.dataclass(frozen=True)
class File:
    """One projected file."""

    data: bytes
    mode: int = _DEFAULT_MODE


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a volume's files are read from."""

    pod: Mapping[str, Any]
    sources: Sources
    allocatable: Mapping[str, str]
    tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Service account tokens by audience; the empty audience is the API server's."""


def volume_files(volume: Mapping[str, Any], origin: Origin) -> dict[str, File]:
    """Return relative path -> file of one configMap, secret, downwardAPI or projected volume.

    Raises:
        ConfigError: something that is referred to does not exist.
    """
    if "projected" in volume:
        projected = volume["projected"]
        mode = projected.get("defaultMode", _DEFAULT_MODE)
        files: dict[str, File] = {}
        for source in projected.get("sources") or []:
            files.update(_source_files(source, origin, mode=mode))
        return files
    for field in ("configMap", "secret", "downwardAPI"):
        if field in volume:
            mode = volume[field].get("defaultMode", _DEFAULT_MODE)
            return dict(_source_files({field: volume[field]}, origin, mode=mode))
    raise ConfigError(f'volume "{volume["name"]}": its kind is not simulated')


def _source_files(source: Mapping[str, Any], origin: Origin, *, mode: int) -> Iterator[tuple[str, File]]:
    if "configMap" in source:
        yield from _keys("configmap", source["configMap"], origin, mode=mode)
    if "secret" in source:
        yield from _keys("secret", source["secret"], origin, mode=mode)
    for item in (source.get("downwardAPI") or {}).get("items") or []:
        yield item["path"], File(_downward(item, origin).encode(), item.get("mode", mode))
    if "serviceAccountToken" in source:
        wanted = source["serviceAccountToken"]
        token = origin.tokens.get(wanted.get("audience", ""), "")
        yield wanted["path"], File(token.encode(), mode)


def _keys(kind: str, reference: Mapping[str, Any], origin: Origin, *, mode: int) -> Iterator[tuple[str, File]]:
    name = reference.get("name") or reference.get("secretName", "")
    optional = bool(reference.get("optional"))
    content = origin.sources.read(kind, name, optional=optional)
    items = reference.get("items")
    if items is None:
        yield from ((key, File(data, mode)) for key, data in content.items())
        return
    for item in items:
        if item["key"] in content:
            yield item["path"], File(content[item["key"]], item.get("mode", mode))
        elif not optional:
            raise ConfigError(f"references non-existent {kind} key: {item['key']}")


def _downward(item: Mapping[str, Any], origin: Origin) -> str:
    try:
        if "fieldRef" in item:
            return field_value(origin.pod, item["fieldRef"]["fieldPath"])
        return resource_value(origin.pod, item["resourceFieldRef"], origin.allocatable)
    except FieldError as error:
        raise ConfigError(str(error)) from error
