"""What befalls the cluster while people use it: replicas, watches, the API server, nodes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from allocator.api.quantities import Memory
from tests.storm.users import SEASON

if TYPE_CHECKING:
    from tests.storm.storm import Storm

Disaster = Callable[[], Awaitable[None]]


class Disasters:
    """One after the other, until the season ends."""

    def __init__(self, storm: "Storm", random: Random) -> None:
        self._storm = storm
        self._random = random

    async def rage(self) -> None:
        """All of them."""
        loop = asyncio.get_running_loop()
        kinds = self._kinds()
        while loop.time() < SEASON:
            await asyncio.sleep(self._random.expovariate(1 / 5))
            [disaster] = self._random.choices([one for one, _ in kinds], [weight for _, weight in kinds])
            self._storm.trace("DISASTER", disaster.__name__)
            self._storm.spawn(disaster())

    def _kinds(self) -> list[tuple[Disaster, int]]:
        """What may happen, and how common it is."""
        return [
            (self.kill, 6),
            (self.kill_amid, 8),
            (self.pause, 5),
            (self.replace, 3),
            (self.cut, 5),
            (self.compact, 3),
            (self.isolate, 2),
            (self.restart, 2),
            (self.restore, 1),
            (self.lose_node, 1),
            (self.silence, 2),
            (self.trouble, 2),
        ]

    async def kill(self) -> None:
        """Kill -9, the leader as likely as not, and another one comes later."""
        at = self._victim()
        self._storm.kill(at)
        await asyncio.sleep(self._random.uniform(0.1, 8))
        self._storm.begin(at)

    async def kill_amid(self) -> None:
        """The same at a chosen instant: as a request leaves, or as its answer arrives."""
        at = self._victim()
        line = self._storm.replicas[at].line
        number = line.sent + self._random.randrange(1, 12)
        died = self._storm.replicas[at].process.died

        def shoot(now: int) -> None:
            if now == number and self._storm.replicas[at].line is line:
                self._storm.kill(at)

        if self._random.random() < 0.5:
            line.on_send = shoot
        else:
            line.on_answer = shoot
        await asyncio.wait([died], timeout=10)
        line.on_send = line.on_answer = lambda _: None
        if died.done():
            await asyncio.sleep(self._random.uniform(0.1, 8))
            self._storm.begin(at)

    async def pause(self) -> None:
        """A process stands still, perhaps for so long that its Lease has run out when it goes on."""
        process = self._storm.replicas[self._victim()].process
        process.pause()
        await asyncio.sleep(self._random.choice([1.0, 5.0, 12.0, 20.0]))
        process.resume()

    async def replace(self) -> None:
        """A rolling update."""
        at = self._random.randrange(len(self._storm.replicas))
        if not self._storm.replicas[at].process.dead:
            await self._storm.replicas[at].stop()
            self._storm.begin(at)

    async def cut(self) -> None:
        """One replica's watches break."""
        self._storm.replicas[self._victim()].line.cut()

    async def compact(self) -> None:
        """Nobody can resume a watch."""
        self._storm.api.forget()
        for replica in self._storm.replicas:
            replica.line.cut()

    async def isolate(self) -> None:
        """A replica cannot reach the API server, which reaches it."""
        line = self._storm.replicas[self._victim()].line
        line.open = False
        line.cut()
        await asyncio.sleep(self._random.uniform(1, 25))
        line.open = True

    async def restart(self) -> None:
        """The API server is away for a while."""
        self._storm.api.stop()
        await asyncio.sleep(self._random.uniform(0.5, 8))
        self._storm.api.start()

    async def restore(self) -> None:
        """The API server comes back with yesterday's data, and whoever remembers today's is started anew.

        As operators do it, or should: versions raised, so that no watch goes on, and all controllers restarted; for
        nothing that they know of pods is true any more, not even that one which has ended does not come back.
        """
        backup = self._storm.api.backup()
        await asyncio.sleep(self._random.uniform(1, 15))
        if self._storm.api.down:
            return
        self._storm.api.stop()
        await asyncio.sleep(self._random.uniform(0.5, 3))
        for at in range(len(self._storm.replicas)):
            self._storm.kill(at)
        self._storm.restore(backup)
        self._storm.api.start()
        for at in range(len(self._storm.replicas)):
            self._storm.begin(at)

    async def lose_node(self) -> None:
        """A node goes for good; one of its name joins later."""
        name = self._random.choice(list(self._storm.nodes.machines))
        if not self._storm.api.down:
            self._storm.nodes.lose(name)
            await asyncio.sleep(self._random.uniform(5, 30))
            self._storm.nodes.arrive(name)

    async def silence(self) -> None:
        """A node is cut off; what runs there goes on."""
        machine = self._random.choice(list(self._storm.nodes.machines.values()))
        machine.silent = asyncio.get_running_loop().time() + self._random.choice([3.0, 10.0, 30.0])

    async def trouble(self) -> None:
        """A GPU fails, or another program takes of it, and is well again later."""
        name = self._random.choice(list(self._storm.nodes.machines))
        gpus = self._storm.nodes.machines[name].gpus
        at = self._random.randrange(len(gpus))
        changes = self._random.choice([{"health": "fell off the bus"}, {"foreign": Memory.mib(400)}])
        worse = tuple(replace(gpu, **changes) if gpu.index == at else gpu for gpu in gpus)
        if not self._storm.api.down:
            self._storm.nodes.publish(name, gpus=worse)
            await asyncio.sleep(self._random.uniform(2, 20))
            self._storm.nodes.publish(name, gpus=gpus)

    def _leader(self) -> int:
        """Which replica leads; any, where none does."""
        replicas = self._storm.replicas
        return next((at for at, one in enumerate(replicas) if one.allocator.leading), 0)

    def _victim(self) -> int:
        """Which replica: the leader as likely as any."""
        living = [at for at, one in enumerate(self._storm.replicas) if not one.process.dead]
        leaders = [at for at in living if self._storm.replicas[at].allocator.leading]
        chosen = leaders if leaders and self._random.random() < 0.5 else living
        return self._random.choice(chosen or [0])


class LateDecisions(Disasters):
    """What tenants have to fear besides."""

    def _kinds(self) -> list[tuple[Disaster, int]]:
        return [*super()._kinds(), (self.pause_amid, 8), (self.hand_over, 4)]

    async def pause_amid(self) -> None:
        """The leader stands still when it has read a pod, wakes up after its Lease, and goes on with what it meant."""
        leader = self._storm.replicas[self._leader()]

        def hold(verb: str, path: str) -> None:
            if verb == "GET" and "/pods/" in path:
                leader.line.heard = lambda *_: None
                leader.process.pause()

        leader.line.heard = hold
        for _ in range(10):
            await asyncio.sleep(1)
            if leader.process.paused:
                await asyncio.sleep(self._random.uniform(12, 25))
                leader.process.resume()
                break
        leader.line.heard = lambda *_: None

    async def hand_over(self) -> None:
        """A rolling update comes to the leader."""
        at = self._leader()
        if not self._storm.replicas[at].process.dead:
            await self._storm.replicas[at].stop()
            self._storm.begin(at)
