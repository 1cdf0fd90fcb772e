"""Quotas of namespaces, fed by two reflectors: their annotations, and ResourceQuotas with GPU limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from allocator.controller.signals import Signals
from allocator.core.quota import Amount, Quota, annotated_quota, joined, resource_quota
from allocator.kube import JsonObject

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What a namespace may hold, and what it holds."""

    quota: Quota
    used: Amount


@dataclass(slots=True)
class Quotas:
    """By namespace.

    Attributes:
        signals: told when a quota has changed, for it may let a waiting pod in.
    """

    signals: Signals
    _parts: dict[str, dict[str, Quota]] = field(default_factory=dict)
    _whole: dict[str, Quota] = field(default_factory=dict)
    _uids: dict[str, str] = field(default_factory=dict)

    def get(self, namespace: str) -> Quota | None:
        """A namespace's quota; None: it has none."""
        return self._whole.get(namespace)

    def all(self) -> Mapping[str, Quota]:
        """Every namespace's that has one."""
        return dict(self._whole)

    def uid_of(self, namespace: str) -> str:
        """The UID of a Namespace; empty: not seen."""
        return self._uids.get(namespace, "")

    def write(self, namespace: str, source: str, quota: Quota | None) -> None:
        """One of a namespace's sources of limits is new, has changed or is gone (None)."""
        parts = self._parts.setdefault(namespace, {})
        if parts.get(source) == quota:
            return
        if quota is None:
            del parts[source]
        else:
            parts[source] = quota
            if quota.problem:
                _log.error(
                    "quota cannot be read; the namespace gets no GPU", namespace=namespace, problem=quota.problem
                )
        whole = joined(parts.values())
        if whole is None:
            self._whole.pop(namespace, None)
            self._parts.pop(namespace, None)
        else:
            self._whole[namespace] = whole
        self.signals.room()

    def name(self, namespace: str, uid: str) -> None:
        """A Namespace was seen; empty: it is gone."""
        if uid:
            self._uids[namespace] = uid
        else:
            self._uids.pop(namespace, None)


@dataclass(frozen=True, slots=True)
class AnnotationBook:
    """Namespaces, for the quotas in their annotations."""

    quotas: Quotas

    def put(self, key: str, namespace: JsonObject) -> None:
        """A Namespace is new or has changed."""
        name, metadata = key.partition("/")[2], namespace["metadata"]
        self.quotas.name(name, str(metadata.get("uid", "")))
        self.quotas.write(name, "", annotated_quota(metadata.get("annotations") or {}))

    def drop(self, key: str) -> None:
        """A Namespace is gone."""
        self.quotas.name(key.partition("/")[2], "")
        self.quotas.write(key.partition("/")[2], "", None)


@dataclass(frozen=True, slots=True)
class ResourceQuotaBook:
    """ResourceQuotas, for their GPU limits."""

    quotas: Quotas

    def put(self, key: str, quota: JsonObject) -> None:
        """A ResourceQuota is new or has changed."""
        self.quotas.write(key.partition("/")[0], key, resource_quota(quota))

    def drop(self, key: str) -> None:
        """A ResourceQuota is gone."""
        self.quotas.write(key.partition("/")[0], key, None)
