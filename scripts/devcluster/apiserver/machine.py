"""What every handler needs: the store, the types, the clock, the admission chain."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from devcluster.apiserver.call import User
from devcluster.apiserver.resources import Resource, Subresource
from devcluster.apiserver.schema import Schema, Struct, Type
from devcluster.apiserver.store import Collection, Entry, Store

Json = dict[str, Any]
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_PREFIX = 58  # 63 less the five random characters


@dataclass(slots=True)
class Attributes:
    """One write as admission sees it. Plugins may replace `obj` while mutating."""

    operation: str  # CREATE, UPDATE, DELETE, CONNECT
    resource: Resource
    subresource: Subresource | None
    namespace: str
    name: str
    obj: Json | None
    old: Json | None
    options: Json
    dry_run: bool
    user: User
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)

    @property
    def sub(self) -> str:
        """The subresource's name, or nothing."""
        return self.subresource.name if self.subresource else ""

    @property
    def kind(self) -> str:
        """The kind of `obj`: the subresource's own where it has one."""
        return (self.subresource.kind if self.subresource else None) or self.resource.kind

    @property
    def kind_group(self) -> str:
        """The group of that kind."""
        given = self.subresource.group if self.subresource else None
        return self.resource.group if given is None else given

    @property
    def kind_version(self) -> str:
        """The version of that kind."""
        return (self.subresource.version if self.subresource else None) or self.resource.version


class Admission(Protocol):
    """The chain of plugins, in-tree and webhooks."""

    async def mutate(self, attributes: Attributes) -> None:
        """Change or refuse the object.

        Raises:
            ApiError: refused.
        """

    async def validate(self, attributes: Attributes) -> None:
        """Refuse the object, or not.

        Raises:
            ApiError: refused.
        """

    async def close(self) -> None:
        """Let go of connections."""


class NoAdmission:
    """Lets everything through."""

    async def mutate(self, attributes: Attributes) -> None:
        """Change nothing."""

    async def validate(self, attributes: Attributes) -> None:
        """Refuse nothing."""

    async def close(self) -> None:
        """Hold nothing."""


@dataclass(slots=True)
class Machine:
    """The server's state and its edges."""

    store: Store
    schema: Schema
    clock: Callable[[], datetime]
    admission: Admission = field(default_factory=NoAdmission)
    ca_pem: str = ""

    def now(self) -> str:
        """The current time, RFC 3339 in whole seconds."""
        return self.clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def collection(self, resource: Resource) -> Collection:
        """Where objects of the resource are kept."""
        return self.store.collection(resource.storage)

    def type_of(self, resource: Resource) -> Type:
        """The stored type: both views of events are kept as core/v1."""
        return self.schema.type_of("io.k8s.api.core.v1.Event" if resource.storage == "events" else resource.definition)

    def struct(self, definition: str) -> Struct:
        """A definition that is known to be an object."""
        found = self.schema.type_of(definition)
        if not isinstance(found, Struct):
            raise TypeError(f"{definition} is no object type")
        return found


def new_uid() -> str:
    """A random UID."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def generated_name(prefix: str) -> str:
    """A name from metadata.generateName."""
    return prefix[:_LONGEST_PREFIX] + random_suffix()


def random_suffix() -> str:
    """Five characters that make no words."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(5))


def loose_entry(obj: Json) -> Entry:
    """An entry around an object that is not stored (dry runs, views)."""
    meta = obj.get("metadata") or {}
    return Entry(meta.get("namespace", ""), meta.get("name", ""), obj, orjson.dumps(obj), 0)


def fresh(entry: Entry) -> Json:
    """A private copy of a stored object, free to be changed."""
    copy: Json = orjson.loads(entry.data)
    return copy
