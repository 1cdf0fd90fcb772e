"""A Secret that replicas share, and the caBundle of webhook registrations: read, compared and swapped, watched.

What is in them is the webhook's business (`webhook.custody`).
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

from allocator.controller.tasks import Tasks
from allocator.kube import (
    JSON_PATCH,
    MUTATING_WEBHOOKS,
    SECRETS,
    AlreadyExistsError,
    Client,
    Clock,
    InvalidError,
    JsonObject,
    NotFoundError,
    Reflector,
    Selection,
    StaleError,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A Secret as it was read.

    Attributes:
        data: its content; a value that is no base64 is empty.
        version: its resourceVersion.
    """

    data: Mapping[str, bytes]
    version: str


@dataclass(frozen=True, slots=True)
class Registration:
    """A webhook configuration as it was read.

    Attributes:
        name: its name.
        version: its resourceVersion.
        bundles: the caBundle of each of its webhooks, in order; empty where there is none.
    """

    name: str
    version: str
    bundles: tuple[bytes, ...]


class Vault:
    """Access to both. Raises KubeError where the API server cannot be asked or forbids it."""

    def __init__(
        self, client: Client, *, namespace: str, secret: str, registrations: Sequence[str], clock: Clock, random: Random
    ) -> None:
        """Prepare.

        Args:
            client: the session to use.
            namespace: the Secret's.
            secret: its name.
            registrations: names of MutatingWebhookConfigurations; those that do not exist are passed over.
            clock: time for waits.
            random: jitter.
        """
        self.namespace = namespace
        self.name = secret
        self._client = client
        self._registrations = tuple(registrations)
        self._clock = clock
        self._random = random
        self._stirred = asyncio.Event()

    async def registrations(self) -> list[Registration]:
        """The registrations that exist."""
        found = []
        for name in self._registrations:
            with suppress(NotFoundError):
                found.append(_registration(await self._client.get(MUTATING_WEBHOOKS, name)))
        return found

    async def stored(self) -> Stored | None:
        """The Secret; None: there is none."""
        try:
            return _stored(await self._client.get(SECRETS, self.name, namespace=self.namespace))
        except NotFoundError:
            return None

    async def store(self, data: Mapping[str, bytes], *, version: str | None) -> bool:
        """Write the Secret; False: somebody else was faster.

        Args:
            data: its whole content.
            version: as it was read; None: it did not exist.
        """
        body: JsonObject = {
            "apiVersion": SECRETS.api_version,
            "kind": SECRETS.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
        }
        try:
            if version is None:
                await self._client.create(SECRETS, body, namespace=self.namespace)
            else:
                body["metadata"]["resourceVersion"] = version
                await self._client.replace(SECRETS, body)
        except (AlreadyExistsError, StaleError, NotFoundError):
            return False
        return True

    async def trust(self, found: Registration, bundle: bytes) -> bool:
        """Write the caBundle of all webhooks of a registration; False: it changed since it was read."""
        value = base64.b64encode(bundle).decode()
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": found.version},
            *(
                {"op": "add", "path": f"/webhooks/{at}/clientConfig/caBundle", "value": value}
                for at in range(len(found.bundles))
            ),
        ]
        try:
            await self._client.patch(MUTATING_WEBHOOKS, found.name, patch, kind=JSON_PATCH)
        except (InvalidError, NotFoundError, StaleError):
            return False
        return True

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Notice changes inside, for `changed`."""
        selections = [Selection(SECRETS, self.namespace, fields=f"metadata.name={self.name}")]
        selections += [Selection(MUTATING_WEBHOOKS, fields=f"metadata.name={name}") for name in self._registrations]
        async with Tasks(self._clock) as tasks:
            for one in selections:
                reflector = Reflector(
                    self._client, one, _Ignore(), clock=self._clock, random=self._random, after=self._stirred.set
                )
                tasks.start(f"watch {one.resource.plural}", reflector.run)
            yield

    async def changed(self, *, within: float) -> None:
        """Wait until Secret or registrations have changed since the last call, or so many seconds have passed."""
        waiting = [asyncio.ensure_future(self._stirred.wait()), asyncio.ensure_future(self._clock.sleep(within))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        self._stirred.clear()


class _Ignore:
    """A reflector's handler that keeps nothing: what has changed is read again."""

    def replaced(self, items: list[JsonObject]) -> None:
        """Nothing to keep."""

    def applied(self, item: JsonObject) -> None:
        """Nothing to keep."""

    def removed(self, item: JsonObject) -> None:
        """Nothing to keep."""


def _stored(item: JsonObject) -> Stored:
    data = {name: _decoded(value) for name, value in (item.get("data") or {}).items()}
    return Stored(data, str(item["metadata"]["resourceVersion"]))


def _registration(item: JsonObject) -> Registration:
    bundles = [_decoded((one.get("clientConfig") or {}).get("caBundle")) for one in item.get("webhooks") or ()]
    return Registration(item["metadata"]["name"], str(item["metadata"]["resourceVersion"]), tuple(bundles))


def _decoded(value: str | None) -> bytes:
    try:
        return base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError):
        return b""
