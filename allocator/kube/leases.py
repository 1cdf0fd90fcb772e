"""Leases: saying that one lives, and agreeing on who leads.

Who judges another's Lease measures on the own clock how long it has stayed the same, and never compares the
other's time stamps with the own time: clocks of two machines may differ by more than a lease lasts.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from allocator.kube.client import Client
from allocator.kube.clock import Clock
from allocator.kube.errors import AlreadyExistsError, NotFoundError, StaleError
from allocator.kube.resources import LEASES, JsonObject

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_SHORTEST: Final = 0.05
"""Seconds between two attempts at least, however soon a Lease runs out."""


def micro_time(when: datetime) -> str:
    """A metav1.MicroTime, as Leases carry."""
    return when.strftime(_TIME)


def lease_object(*, namespace: str, name: str, holder: str, seconds: int, now: datetime) -> JsonObject:
    """A Lease as its holder first writes it."""
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": micro_time(now),
            "renewTime": micro_time(now),
            "leaseTransitions": 0,
        },
    }


async def renew(client: Client, *, namespace: str, name: str, holder: str, seconds: int, now: datetime) -> None:
    """Write a sign of life into a Lease that nobody else contends for; makes it where it does not exist."""
    patch = {"spec": {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": micro_time(now)}}
    try:
        await client.patch(LEASES, name, patch, namespace=namespace)
    except NotFoundError:
        body = lease_object(namespace=namespace, name=name, holder=holder, seconds=seconds, now=now)
        await client.create(LEASES, body, namespace=namespace)


@dataclass(slots=True)
class Observation:
    """Since when, on the own clock, another's Lease has stood as it stands.

    Attributes:
        version: what identifies its state: the renewal stamp and the holder.
        since: seconds of the own monotonic clock.
    """

    version: tuple[str, str] = ("", "")
    since: float = 0.0

    def look(self, lease: JsonObject, *, now: float) -> float:
        """Note the Lease's state; returns the seconds for which it has not changed under our eyes."""
        spec = lease.get("spec") or {}
        version = (str(spec.get("renewTime", "")), str(spec.get("holderIdentity", "")))
        if version != self.version:
            self.version, self.since = version, now
        return now - self.since


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    """How leadership is kept and taken.

    Attributes:
        namespace: of the Lease.
        name: of the Lease.
        identity: ours; must differ between replicas.
        duration: seconds that others wait before they take over an unrenewed Lease.
        renew_within: seconds after a renewal for which we call ourselves leader; less than `duration`, so that
            we have stopped before anyone else starts.
        retry: seconds between attempts.
    """

    namespace: str
    name: str
    identity: str
    duration: int = 15
    renew_within: float = 10.0
    retry: float = 2.0


class Election:
    """One candidate. `step` now and again; `leading` says whether duties of the leader may be done now."""

    def __init__(self, client: Client, settings: ElectionSettings, *, clock: Clock) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._seen = Observation()
        self._until = float("-inf")
        self._free_at = float("inf")

    @property
    def leading(self) -> bool:
        """Whether our Lease is fresh enough to act on. Ask again after every wait."""
        return self._clock.monotonic() < self._until

    def pause(self) -> float:
        """Seconds after which to try again: those between attempts, or fewer if another's Lease runs out before."""
        left = self._free_at - self._clock.monotonic()
        return min(self._settings.retry, max(left, _SHORTEST))

    async def step(self) -> bool:
        """Renew, or take what is free or abandoned.

        Returns:
            Whether we lead.

        Raises:
            KubeError: the API server could not be asked; leadership runs out by itself.
        """
        chosen, started = self._settings, self._clock.monotonic()
        try:
            lease = await self._client.get(LEASES, chosen.name, namespace=chosen.namespace)
        except NotFoundError:
            return await self._create(started)
        idle = self._seen.look(lease, now=started)
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        self._free_at = float("inf")
        lasts = float(spec.get("leaseDurationSeconds") or chosen.duration)
        if holder not in ("", chosen.identity) and idle < lasts:
            self._until = float("-inf")
            self._free_at = started + lasts - idle
            return False
        try:
            written = await self._client.replace(LEASES, self._taken(lease, holder))
        except StaleError:
            return self.leading
        return self._won(written, started)

    async def resign(self) -> None:
        """Give the Lease up, so that the next leader need not wait. Call when all duties have stopped."""
        if not self.leading:
            return
        self._until = float("-inf")
        lease = await self._client.get(LEASES, self._settings.name, namespace=self._settings.namespace)
        if (lease.get("spec") or {}).get("holderIdentity") == self._settings.identity:
            lease["spec"]["holderIdentity"] = ""
            await self._client.replace(LEASES, lease)

    async def _create(self, started: float) -> bool:
        chosen = self._settings
        body = lease_object(
            namespace=chosen.namespace,
            name=chosen.name,
            holder=chosen.identity,
            seconds=chosen.duration,
            now=self._clock.now(),
        )
        try:
            written = await self._client.create(LEASES, body, namespace=chosen.namespace)
        except AlreadyExistsError:
            return False
        return self._won(written, started)

    def _taken(self, lease: JsonObject, holder: str) -> JsonObject:
        """The Lease as ours, renewed now."""
        spec = dict(lease.get("spec") or {})
        now = micro_time(self._clock.now())
        if holder != self._settings.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        spec["holderIdentity"] = self._settings.identity
        spec["leaseDurationSeconds"] = self._settings.duration
        spec["renewTime"] = now
        return {**lease, "spec": spec}

    def _won(self, written: JsonObject, started: float) -> bool:
        """Leadership counts from before the request was sent: a slow answer must not lengthen it."""
        self._seen.look(written, now=started)
        self._until = started + self._settings.renew_within
        return self.leading
