"""Replicas that share one Secret: whatever they interleave with, what is served is believed by the API servers."""

import ssl
import types
from collections.abc import Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.controller import Registration, Stored
from tests.unit.kube.clockwork import ManualClock
from webhook.certificates import CertificateError
from webhook.custody import certificates, read
from webhook.keeper import Keeper
from webhook.pki import signed_by
from webhook.settings import TlsSettings
from webhook.tls import empty_context

DAY = 86400.0
TLS = TlsSettings(names=("svc.ns.svc",), secret="s", lifetime_days=9, ca_lifetime_days=30, settle_seconds=60)
LAG = 50.0
"""Seconds by which an API server may lag behind; less than the settling time."""


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Let somebody else go first."""
    yield


@dataclass
class Memory:
    """Secret and registrations as an API server keeps them; every request gives way to others twice.

    Attributes:
        past: what registrations said before, with the time until which they did.
    """

    clock: ManualClock = field(default_factory=ManualClock)
    past: list[tuple[float, tuple[bytes, ...]]] = field(default_factory=list)
    namespace: str = "ns"
    name: str = "s"
    secret: Stored | None = None
    versions: int = 1
    hooks: dict[str, Registration] = field(default_factory=dict)
    writes: int = 0

    def register(self, *names: str, bundle: bytes = b"") -> None:
        """Apply the manifests."""
        for name in names:
            if name in self.hooks:
                self.past.append((self.clock.monotonic(), self.hooks[name].bundles))
            self.versions += 1
            self.hooks[name] = Registration(name, str(self.versions), (bundle, bundle))

    async def registrations(self) -> list[Registration]:
        """As they are between two moments."""
        await turn()
        found = list(self.hooks.values())
        await turn()
        return found

    async def stored(self) -> Stored | None:
        """As it is between two moments."""
        await turn()
        found = self.secret
        await turn()
        return found

    async def store(self, data: dict[str, bytes], *, version: str | None) -> bool:
        """Compare and swap."""
        await turn()
        won = version == (self.secret.version if self.secret else None)
        if won:
            self.versions += 1
            self.writes += 1
            self.secret = Stored(data, str(self.versions))
        await turn()
        return won

    async def trust(self, found: Registration, bundle: bytes) -> bool:
        """Compare and swap."""
        await turn()
        won = found.name in self.hooks and self.hooks[found.name].version == found.version
        if won:
            self.writes += 1
            self.register(found.name, bundle=bundle)
        await turn()
        return won

    async def changed(self, *, within: float) -> None:
        """Nobody waits here."""


def run(step: Coroutine[Any, Any, None]) -> None:
    """All of a step at once."""
    with suppress(StopIteration):
        while True:
            step.send(None)


class Replica:
    """One keeper with its TLS context; a restart forgets everything."""

    def __init__(self, memory: Memory, clock: ManualClock, tls: TlsSettings = TLS) -> None:
        self.memory, self.clock, self.tls = memory, clock, tls
        self.restart()

    def restart(self) -> None:
        """A new process."""
        self.keeper = Keeper(self.memory, self.tls, clock=self.clock)
        self.context = empty_context()
        self.going: Coroutine[Any, Any, None] | None = None

    def step(self) -> None:
        """A whole step."""
        run(self.keeper.step(self.context))

    def go_on(self, turns: int) -> None:
        """Some turns of a step, a new one if none is under way."""
        self.going = self.going or self.keeper.step(self.context)
        try:
            for _ in range(turns):
                self.going.send(None)
        except StopIteration:
            self.going = None

    def believed(self, *, lag: float = 0) -> bool:
        """Whether API servers believe what is served: those that know the registrations, and those that lag."""
        held = self.keeper.holding
        if held is None:
            return True
        known = [one.bundles for one in self.memory.hooks.values()]
        known += [bundles for until, bundles in self.memory.past if until > self.clock.monotonic() - lag]
        trusted = [certificates(bundle) for bundles in known for bundle in bundles]
        alive = held.certificate.not_valid_before_utc <= self.clock.now() < held.ends
        return alive and all(any(signed_by(held.certificate, ca) for ca in bundle) for bundle in trusted)


@pytest.fixture
def memory() -> Memory:
    """A cluster with the manifests applied."""
    made = Memory()
    made.register("vramshare", "other")
    return made


@pytest.fixture
def clock(memory: Memory) -> ManualClock:
    """The time there."""
    return memory.clock


def test_first_replica_makes_and_all_agree(memory: Memory, clock: ManualClock) -> None:
    """Three start at the same time, turn by turn; one Secret, one certificate, every registration written."""
    replicas = [Replica(memory, clock) for _ in range(3)]
    steps = [one.keeper.step(one.context) for one in replicas]
    while steps:
        for one in list(steps):
            try:
                one.send(None)
            except StopIteration:
                steps.remove(one)
    served = {one.keeper.holding.certificate for one in replicas if one.keeper.holding}
    assert len(served) == 1
    for one in replicas:
        one.step()
    assert all(one.believed() for one in replicas)


def test_registration_that_was_reset_is_written_again(memory: Memory, clock: ManualClock) -> None:
    """Somebody replaced it by the manifest's, or by nonsense."""
    replica = Replica(memory, clock)
    replica.step()
    for bundle in (b"", b"nonsense"):
        memory.register("vramshare", bundle=bundle)
        assert not replica.believed()
        replica.step()
        assert replica.believed()


def test_nothing_is_written_where_nothing_is_due(memory: Memory, clock: ManualClock) -> None:
    """Looking costs the API server nothing."""
    replica = Replica(memory, clock)
    replica.step()
    before = memory.writes
    for _ in range(5):
        replica.step()
    assert memory.writes == before


def test_deleted_secret_changes_the_ca_without_a_gap(memory: Memory, clock: ManualClock) -> None:
    """An operator's way to have all made anew: the old CA stays trusted, and the new certificate waits until it is."""
    replica = Replica(memory, clock)
    replica.step()
    assert replica.keeper.holding is not None
    before = replica.keeper.holding.ca
    memory.secret = None
    replica.step()
    replica.step()
    assert replica.keeper.holding.ca == before
    assert replica.believed()
    clock.advance(TLS.settle_seconds)
    replica.step()
    assert replica.keeper.holding.ca != before
    assert replica.believed()


def test_unusable_secret_of_somebody_else_is_an_error_with_a_remedy(memory: Memory, clock: ManualClock) -> None:
    """It is neither served from nor overwritten."""
    memory.secret = Stored({"password": b"x"}, "1")
    with pytest.raises(CertificateError, match=r"Secret ns/s cannot be served from: .*delete it.*--cert"):
        Replica(memory, clock).step()
    assert memory.secret.data == {"password": b"x"}


def test_newer_versions_secret_is_served_and_its_trust_left_alone(memory: Memory, clock: ManualClock) -> None:
    """A replica of an older version beside newer ones takes nothing out of the registrations."""
    newer = Replica(memory, clock)
    newer.step()
    assert memory.secret is not None
    memory.secret = Stored({**memory.secret.data, "format": b"2"}, "99")
    memory.register("vramshare", bundle=b"what the newer version wants")
    older = Replica(memory, clock)
    older.step()
    assert older.keeper.holding is not None
    assert memory.hooks["vramshare"].bundles[0] == b"what the newer version wants"


def test_loaded_certificate_is_the_secrets(memory: Memory) -> None:
    """The TLS context has it, with its key."""
    memory.clock = ManualClock(datetime.now(UTC))
    replica = Replica(memory, memory.clock)
    replica.step()
    held = replica.keeper.holding
    assert held is not None
    client = ssl.create_default_context(cadata=held.ca_bundle.decode())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = replica.context.wrap_bio(incoming, outgoing, server_side=True)
    asking = client.wrap_bio(back, forth, server_hostname="svc.ns.svc")
    for _ in range(4):
        for side, source, target in ((asking, forth, incoming), (server, outgoing, back)):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            target.write(source.read())
    assert asking.getpeercert()["subject"]


def test_replica_that_slept_undoes_nothing(memory: Memory, clock: ManualClock) -> None:
    """It woke up in the middle of writing what was right before the CA changed."""
    sleeper, awake = Replica(memory, clock), Replica(memory, clock)
    awake.step()
    memory.register("vramshare", "other")
    sleeper.go_on(5)
    for _ in range(40):
        awake.step()
        clock.advance(DAY)
    assert awake.believed()
    sleeper.go_on(1000)
    assert awake.believed()


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_no_admission_fails_whatever_interleaves(seed: int) -> None:
    """Years of rotations, three replicas that stall in the middle of a step, restarts: always believed."""
    random, memory = Random(seed), Memory()
    clock = memory.clock
    memory.register("vramshare", "other")
    replicas = [Replica(memory, clock) for _ in range(3)]
    replicas[0].step()
    clock.advance(LAG)
    for _ in range(40):
        for _ in range(random.randrange(20)):
            random.choice(replicas).go_on(random.randrange(1, 12))
            assert all(one.believed(lag=LAG) for one in replicas)
        if random.random() < 0.1:
            random.choice(replicas).restart()
        stalled = random.choice([*replicas, None])
        for one in replicas:
            if one is not stalled:
                one.go_on(1000)
            assert one.believed(lag=LAG)
        clock.advance(random.choice([1, 30, 61, DAY, DAY, DAY]))
    stored = read(memory.secret.data) if memory.secret else None
    assert stored is not None
    assert not stored.faults


def test_years_pass_and_every_rotation_happens(memory: Memory, clock: ManualClock) -> None:
    """A look every day for a year: the CA changes some dozen times, and no moment is without a believed certificate."""
    replicas = [Replica(memory, clock) for _ in range(2)]
    cas = set()
    for _ in range(365):
        for one in replicas:
            one.step()
            assert one.believed()
            assert one.keeper.holding is not None
            cas.add(one.keeper.holding.ca)
        clock.advance(timedelta(days=1).total_seconds())
    assert 12 <= len(cas) <= 25
    assert memory.secret is not None
    assert len(certificates(memory.hooks["vramshare"].bundles[0])) <= 3, "what is over is trusted no longer"
