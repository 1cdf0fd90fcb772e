"""Many replicas, many faults, one seed: whatever happens in whatever order, nothing is booked twice or lost.

Invariant 1 is checked at every ledger write, invariant 2 at the end of each storm.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from random import Random

import pytest

from allocator.api import names
from allocator.api.errors import VramshareError
from allocator.controller import Allocator, GiveBackSettings, Granted
from allocator.kube import PODS, errors
from tests.unit.controller.cluster import Cluster, ask

SEEDS = range(int(os.environ.get("VRAMSHARE_STORMS", "100")))
"""More by VRAMSHARE_STORMS=1000; a failing seed replays exactly."""
GIVE_BACK = GiveBackSettings(request_limit=5, grace=10, sweep=5)
_FAULTS = (errors.UnknownOutcomeError, errors.BusyError, errors.StaleError)


class Storm:
    """A cluster under random faults and random users, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.cluster = Cluster("n1", "n2", gpus=2)
        self.calm = False
        self.alive: set[str] = set()
        self.cluster.api.before = self._before
        self.cluster.api.after = self._after

    def _before(self, verb: str, *_: object) -> None:
        """A request that never arrives, or is refused."""
        if not self.calm and verb in {"POST", "PUT", "PATCH", "GET"} and self.random.random() < 0.08:
            raise self._fault()

    def _fault(self) -> errors.KubeError:
        return self.random.choice(_FAULTS)("fault")

    def _after(self, verb: str, *_: object) -> None:
        """A request that is carried out and whose answer is lost. Every ledger is checked as it is written."""
        self.cluster.check()
        if not self.calm and verb in {"POST", "PUT", "PATCH"} and self.random.random() < 0.08:
            raise errors.UnknownOutcomeError("answer lost", status=504)

    async def user(self, number: int, allocator: Allocator) -> None:
        """Creates a pod, which may be refused later, may run and end, or may be given up amid its admission."""
        for _ in range(self.random.randrange(6)):
            await asyncio.sleep(0)
        task = asyncio.create_task(allocator.grant(ask(f"p{number}", mib=self.random.choice([100, 300, 700]))))
        if self.random.random() < 0.2:
            for _ in range(self.random.randrange(8)):
                await asyncio.sleep(0)
            task.cancel()
        [granted] = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(granted, Granted):
            assert isinstance(granted, VramshareError | asyncio.CancelledError), repr(granted)
            return
        fate = self.random.random()
        if fate < 0.3:
            return  # refused by somebody after us: its pod never comes
        if fate < 0.4:
            await allocator.give_back(granted)
            return
        self.cluster.run_pod(granted)
        if fate < 0.7:
            self.alive.add(granted.grant.allocation.id)
        elif fate < 0.85:
            self.cluster.run_pod(granted, phase="Succeeded")
        elif self.random.random() < 0.5:
            self.cluster.end_pod(granted.grant.pod)
        else:  # by force
            self.cluster.api.drop(PODS, granted.grant.pod, namespace="team")

    async def patient(self, number: int) -> None:
        """A pod of the queue, which may be deleted while it waits or after."""
        for _ in range(self.random.randrange(40)):
            await asyncio.sleep(0)
        name = f"q{number}"
        self.cluster.queue_pod(name, mib=self.random.choice([100, 300, 700]), priority=self.random.randrange(3))
        if self.random.random() < 0.3:
            for _ in range(self.random.randrange(200)):
                await asyncio.sleep(0)
            self.cluster.api.drop(PODS, name, namespace="team")

    def living(self) -> set[str]:
        """Ids of the grants that pods hold."""
        found = set()
        for key, pod in self.cluster.api.objects.items():
            metadata = pod["metadata"]
            if key[0] == PODS.plural and pod["status"]["phase"] != "Succeeded":
                found.add((metadata.get("annotations") or {}).get(names.ALLOCATION_ID))
        return found - {None}

    async def weather(self) -> None:
        """Time passes, watches break and lag."""
        for _ in range(12):
            what = self.random.random()
            if what < 0.2:
                self.cluster.api.disconnect(forget=self.random.random() < 0.5)
            elif what < 0.3:
                self.cluster.api.hold_watches()
            elif what < 0.5:
                self.cluster.api.release_watches()
            await self.cluster.pass_time(self.random.randrange(1, 3))
            self.cluster.agents_confirm()

    async def run(self) -> None:
        """Storm, calm, and a look at what is left."""
        async with AsyncExitStack() as stack:
            replicas = [
                await stack.enter_async_context(
                    self.cluster.allocator(leads=False, identity=f"r{at}", give_back=GIVE_BACK)
                )
                for at in range(3)
            ]
            users = [self.user(at, self.random.choice(replicas)) for at in range(24)]
            await asyncio.gather(self.weather(), *users, *(self.patient(at) for at in range(6)))
            self.calm = True
            self.cluster.api.release_watches()
            for _ in range(4):
                self.cluster.agents_confirm()
                await self.cluster.pass_time(10)
            held = {key for node in ("n1", "n2") for key in self.cluster.ledger(node).grants}
            alive = self.living()
            assert held == alive, "grants leaked" if held - alive else "grants lost"
            assert self.alive <= alive
            assert all(self._told(pod) for pod in self.cluster.api.objects.values() if gated(pod))
            self.cluster.check()
            self._caches_agree(replicas)

    def _told(self, pod: dict) -> bool:
        """A pod that still waits knows why."""
        return "needs" in pod["metadata"]["annotations"].get(names.REASON, "")

    def _caches_agree(self, replicas: list[Allocator]) -> None:
        """After the storm every replica believes what the API server has; nothing stays assumed."""
        for replica in replicas:
            assert replica._engine is not None
            for node in ("n1", "n2"):
                state = replica._engine.world.fleet.node(node)
                assert state is not None
                assert state.assumed == {}
                assert set(state.ledger) == set(self.cluster.ledger(node).grants)


def gated(item: dict) -> bool:
    """Whether an object is a pod that waits for us."""
    gates = (item.get("spec") or {}).get("schedulingGates") or ()
    return any(gate["name"] == names.GATE for gate in gates)


@pytest.mark.parametrize("seed", SEEDS)
async def test_storm(seed):
    """No double booking at any moment, no grant of a living pod lost, none of a dead one kept."""
    await Storm(seed).run()


async def test_the_check_finds_a_broken_ledger(monkeypatch):
    """The harness itself: without the last check before a write, two blind replicas overbook, and it is seen."""
    monkeypatch.setattr("allocator.core.ledger._excess", lambda *_: "")
    cluster = Cluster()
    async with cluster.allocator() as one, cluster.allocator(leads=False, identity="two") as two:
        cluster.api.hold_watches()
        await one.grant(ask("a", mib=700))
        await two.grant(ask("b", mib=700))
        with pytest.raises(AssertionError, match="GPU-n1-0"):
            cluster.check()
        cluster.api.release_watches()
