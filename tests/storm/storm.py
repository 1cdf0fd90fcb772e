"""A cluster with three replicas, its users and its disasters, all from one seed; then calm, and a look at what is left.

A storm fails where one of the invariants breaks at any moment (`tests.invariants`, `truth`), where a replica swallows
a mistake of its own, and where, after it, a pod is lost, a grant has leaked, or two replicas disagree.
"""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from allocator.api import names
from allocator.kube import NAMESPACES
from tests.storm import loop
from tests.storm.api import Backup, StormApi
from tests.storm.disasters import Disasters
from tests.storm.line import Line, Weather
from tests.storm.logs import Mistakes
from tests.storm.nodes import STEP, Nodes
from tests.storm.process import Process, SkewedClock
from tests.storm.replica import SETTINGS, Replica
from tests.storm.server import PodServer
from tests.storm.trace import Trace
from tests.storm.truth import ENDED, Truth, carried, meant
from tests.storm.users import Users

REPLICAS = 3
HOMES = ("team", "greedy")
"""The namespaces of users."""
SETTLES_WITHIN = 75.0
"""Seconds of calm by which everything has settled: a Lease that runs out, the grace, a sweep, a lagging watch."""
DRAINS_WITHIN = 240.0


@dataclass(frozen=True)
class Outcome:
    """What came of a storm.

    Attributes:
        seed: replays it.
        problems: what was wrong; empty: all is well.
        digest: of all that happened.
        tail: the end of it, in lines.
        grants: ledger entries ever written.
        writes: of ledgers.
    """

    seed: int
    problems: tuple[str, ...]
    digest: str
    tail: tuple[str, ...]
    grants: int
    writes: int


def storm(seed: int, kind: "type[Storm] | None" = None, *, whole: bool = False) -> Outcome:
    """Run one, of this kind. `whole`: keep all lines of the trace."""

    async def main() -> Outcome:
        return await (kind or Storm)(seed, whole=whole).run()

    with Mistakes() as mistakes:
        try:
            outcome = loop.run(main())
        finally:
            gc.unfreeze()  # an allocator freezes what it has read; of thousands of them nothing is to stay
    problems = (*outcome.problems, *mistakes.found)
    return Outcome(**{**vars(outcome), "problems": problems})


class Storm:
    """One of them."""

    def __init__(self, seed: int, *, whole: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.trace = Trace(whole=whole)
        self.api = StormApi()
        self.truth = Truth(self.api, self.trace)
        self.weather = Weather(Random(seed + 1), faults=self.random.choice([0.0, 0.02, 0.06, 0.12]))
        self.nodes = Nodes(self.api, self.truth, Random(seed + 2), self.trace)
        self.server = PodServer(self.api, self.truth, Random(seed + 3), self.trace)
        self.users = Users(self.api, self.server, self.nodes, Random(seed + 4))
        self.replicas: list[Replica] = self.server.replicas
        self.settings = SETTINGS
        self._ids = count(1)
        self._incarnations = count(1)
        self._tasks: list[asyncio.Task[Any]] = []

    async def run(self) -> Outcome:
        """Storm, calm, drain."""
        self._prepare()
        for at in range(self.random.randrange(1, 4)):
            self.nodes.add(f"n{at}", gpus=self.random.randrange(1, 4))
        for at in range(REPLICAS):
            self.begin(at)
        self.spawn(self._live())
        await asyncio.sleep(self.random.uniform(0, 2))
        disasters = self.spawn(self._disasters().rage())
        await self._season()
        await disasters
        await self._calm_down()
        await self._quiet()
        await self._drain()
        return self._outcome()

    def begin(self, at: int) -> None:
        """A replica starts, under a name that nobody had before, where there is none."""
        if at < len(self.replicas) and not self.replicas[at].process.dead:
            return
        process = Process(f"r{at}.{next(self._incarnations)}")
        line = Line(self.api, process, self.weather, self.trace)
        clock = SkewedClock(
            process, skew=self.random.choice([0, 0, -300, 45, 3600]), rate=self.random.uniform(0.98, 1.02)
        )
        made = Replica(process, line, clock, random=Random(self.random.random()), ids=self._ids, settings=self.settings)
        self.trace(process.name, "starts")
        if at == len(self.replicas):
            self.replicas.append(made)
        else:
            self.replicas[at] = made

    def kill(self, at: int) -> None:
        """A replica is no more."""
        self.trace(self.replicas[at].process.name, "is killed")
        self.replicas[at].process.kill()

    def restore(self, backup: Backup) -> None:
        """The past is back. Nobody can be blamed for grants of the time between."""
        before = {key for node in self.nodes.machines for key in self.truth.ledger(node)}
        self.api.restore(backup)
        self.nodes.rejoin()
        after = {key for node in self.nodes.machines for key in self.truth.ledger(node)}
        self.truth.amnesty |= before ^ after
        self.truth.amnesty |= {hold.id for hold in self.truth.running.values()}

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Do something beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    # --- inside ----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What there is before anybody comes: namespaces that have opted in."""
        for name in HOMES:
            labels = {names.INJECT_LABEL: names.INJECT_ENABLED}
            self.api.put(NAMESPACES, {"metadata": {"name": name, "labels": labels}})

    async def _season(self) -> None:
        """Everybody comes; returns when all have what they want, or have given up."""
        await self.users.come(self.random.randrange(10, 36))

    def _disasters(self) -> Disasters:
        """What befalls it."""
        return Disasters(self, Random(self.seed + 5))

    async def _quiet(self) -> None:
        """What a further kind of storm tries when all is calm."""

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(STEP)
            self.nodes.step()

    async def _calm_down(self) -> None:
        """Nothing goes wrong any more: every replica runs, and soon what stands in the ledgers is what pods hold."""
        self.trace("CALM")
        self.weather.calm()
        await asyncio.sleep(35)  # what was still under way ends
        for at, replica in enumerate(self.replicas):
            replica.line.on_send = replica.line.on_answer = lambda _: None
            replica.line.heard = lambda *_: None
            replica.line.open = True
            replica.process.resume()
            if replica.process.dead:
                self.begin(at)
        await self._until(self._unsettled, SETTLES_WITHIN)

    async def _drain(self) -> None:
        """Everybody goes, so everybody who waits gets in, and goes; then nothing is held any more."""
        self.trace("DRAIN")
        ends = asyncio.get_running_loop().time() + DRAINS_WITHIN

        def go() -> list[str]:
            for pod in self.truth.pods():
                gates = [gate["name"] for gate in pod["spec"].get("schedulingGates") or ()]
                if gates != [names.GATE]:  # those whose other queue lets them wait for ever go as well
                    self.server.delete(pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])
            left = [pod["metadata"]["name"] for pod in self.truth.pods() if self._possible(pod)]
            held = [key for node in self.nodes.machines for key in self.truth.ledger(node)]
            return [f"waits for ever: {left}"] * bool(left) + [f"leaked: {held}"] * bool(held)

        await self._until(go, ends - asyncio.get_running_loop().time())
        await self._until(self._disagreement, SETTLES_WITHIN)

    def _possible(self, pod: dict) -> bool:
        """Whether an empty cluster has room for a pod, as far as its users' edits leave it any."""
        wanted = (pod["spec"].get("nodeSelector") or {}).get("kubernetes.io/hostname")
        gpus = int(pod["metadata"]["annotations"].get(names.GPUS, "1"))
        return any(
            len(machine.inventory.gpus) >= gpus
            for machine in self.nodes.machines.values()
            if machine.there and wanted in (None, machine.name)
        )

    async def _until(self, problems: Callable[[], list[str]], seconds: float) -> None:
        """Wait until there are no problems; those that are left in the end are real."""
        if self.truth.problems:
            return
        ends = asyncio.get_running_loop().time() + seconds
        while found := problems():
            if asyncio.get_running_loop().time() > ends:
                self.trace("WRONG", *found)
                self.truth.problems.extend(found)
                return
            await asyncio.sleep(1)

    def _unsettled(self) -> list[str]:
        """How the ledgers and the pods differ, and which pod does not know why it waits."""
        found = []
        living = [pod for pod in self.truth.pods() if pod["status"].get("phase") not in ENDED]
        ledger = {key: one for node in self.nodes.machines for key, one in self.truth.ledger(node).items()}
        held = set()
        for pod in living:
            key, _, slices = carried(pod)
            entry = ledger.get(key)
            if key and (entry is None or not meant(entry, pod) or not entry.uid or set(entry.slices) != set(slices)):
                found.append(f"lost: pod {pod['metadata']['name']} carries {key}, the ledger has {entry}")
            if key:
                held.add(key)
                if {names.REASON, names.RESERVED} & pod["metadata"]["annotations"].keys():
                    found.append(f"untrue: pod {pod['metadata']['name']} has its grant and says why it waits")
            elif not (pod["metadata"]["annotations"].get(names.REASON) or pod["metadata"].get("deletionTimestamp")):
                found.append(f"untold: pod {pod['metadata']['name']} waits and does not know why")
        if leaked := ledger.keys() - held:
            found.append(f"leaked: {sorted(leaked)}")
        return found + self._disagreement()

    def _disagreement(self) -> list[str]:
        """Where a replica believes something else than the API server has."""
        found = []
        for replica in self.replicas:
            engine = replica.allocator._engine
            if engine is None:
                found.append(f"{replica.process.name} has not started")
                continue
            for node in self.nodes.machines:
                state, ledger = engine.world.fleet.node(node), self.truth.ledger(node)
                held = {} if state is None else state.ledger
                if state is not None and state.assumed:
                    found.append(f"{replica.process.name} still assumes {sorted(state.assumed)} on {node}")
                if set(held) != set(ledger):
                    found.append(f"{replica.process.name} believes in {sorted(held)} on {node}: {sorted(ledger)}")
        if sum(replica.allocator.leading for replica in self.replicas) != 1:
            found.append("there is not one leader")
        return found

    def _outcome(self) -> Outcome:
        return Outcome(
            seed=self.seed,
            problems=tuple(self.truth.problems),
            digest=self.trace.digest(),
            tail=tuple(self.trace.lines),
            grants=len(self.truth.watchdog.seen),
            writes=self.truth.watchdog.writes,
        )
