"""Serves the queue: pods behind our gate get their grants in order, in one patch each. The leader's duty.

A round goes through the waiting pods once, first come first, and decides on each without awaiting anything: grant it,
keep room for it, or tell it what is missing. What was decided is then written, many at a time.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from allocator.api.errors import RequestError
from allocator.controller.engine import Engine
from allocator.controller.notes import quota_note
from allocator.controller.opener import Opener, Opening
from allocator.controller.preemptor import Preemptor
from allocator.controller.public import Granted
from allocator.controller.reading import Reading
from allocator.controller.teller import Teller
from allocator.core.gang import Unit
from allocator.core.placement import Placement, place
from allocator.core.queue import Waiting
from allocator.core.quota import held, least
from allocator.core.reservation import Spot, nearest, stands
from allocator.kube import EventRecorder

_log = structlog.get_logger(__name__)
_BATCH = 64
"""Pods and groups decided on before others have a turn in this process."""
_MOST_LOOKS = 32
"""New places to be kept that are looked for in one round."""
_FAILED: Final = "cannot be placed because of an error in vramshare; the log of the webhook's leader says which"

Member = tuple[Waiting, Reading]


@dataclass(slots=True)
class _Round:
    """What one round has found out so far.

    Attributes:
        refused: why pods of a kind do not fit; equal pods after a refused one need no second look.
        spots: how many pods or groups room is kept for.
        holders: the namespaces of those.
        openings: decisions that are to be written.
        idle: grants from before that their pods cannot use.
        looks: how often a new place to be kept has been looked for; that is dear, and another round follows.
    """

    refused: dict[object, str] = field(default_factory=dict)
    spots: int = 0
    holders: set[str] = field(default_factory=set)
    openings: list[list[Opening]] = field(default_factory=list)
    idle: list[Opening] = field(default_factory=list)
    looks: int = 0


class Dispatcher:
    """Goes through the waiting pods whenever something happened that may let one in."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._opener = Opener(engine, recorder, leading=leading)
        self._teller = Teller(engine, recorder)
        self._preemptor = Preemptor(engine, recorder)
        self._complained: dict[str, str] = {}
        self._round = _Round()
        self._wake = asyncio.Event()

    def stirred(self) -> None:
        """Something happened: room was made, or the queue changed."""
        self._wake.set()

    async def follow(self) -> None:
        """A round for every stir, and one now and again while pods wait."""
        settings = self._engine.settings.queue
        while True:
            await self._wake.wait()
            await self._engine.clock.sleep(settings.settle)
            self._wake.clear()
            await self.round()

    async def nudge(self) -> None:
        """Stir now and again, in case a chance was missed."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.queue.retry)
            if self._engine.world.pods.depth():
                self.stirred()

    async def round(self) -> None:
        """Try every waiting pod once, first come first."""
        if not self._leads():
            return
        uids = {one.uid for one in self._engine.world.pods.waiting()}
        self._opener.forget_all_but(uids)
        self._teller.forget_all_but(uids)
        self._preemptor.begin()
        self._complain()
        self._round = _Round()
        waiting = self._engine.line.units()
        for start in range(0, len(waiting), _BATCH):
            if not self._leads():
                break
            with self._engine.line.deciding(waiting[start].turn):
                for unit in waiting[start : start + _BATCH]:
                    self._consider_safely(unit)
            await self._write()
        if self._leads():
            await self._teller.flush()
            await self._preemptor.flush()

    # --- inside ----------------------------------------------------------------------------------------------

    def _leads(self) -> bool:
        return self._leading() and self._engine.world.fresh

    async def _write(self) -> None:
        """Write what was decided; what is not written is undone."""
        openings, self._round.openings = self._round.openings, []
        idle, self._round.idle = self._round.idle, []
        limit = asyncio.Semaphore(self._engine.settings.queue.at_once)

        async def write(one: Sequence[Opening]) -> None:
            async with limit:
                await self._opener.open(one)

        await self._engine.clock.sleep(0)
        give_up = map(self._opener.let_go, idle)
        results = await asyncio.gather(*(write(one) for one in openings), *give_up, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):  # its pods are found again in the next round, the others go on
                _log.error("queued pod not granted, looking again", exc_info=result)
            elif isinstance(result, BaseException):
                raise result

    def _complain(self) -> None:
        """Tell of quotas that cannot be read."""
        problems = {name: quota.problem for name, quota in self._engine.world.quotas.all().items() if quota.problem}
        for name, problem in problems.items():
            if self._complained.get(name) != problem:
                self._recorder.record(quota_note(name, self._engine.world.quotas.uid_of(name), problem))
        self._complained = problems

    def _consider_safely(self, unit: Unit) -> None:
        """`_consider`; whatever goes wrong with one unit, those behind it have their turn."""
        try:
            self._consider(unit)
        except Exception:  # noqa: BLE001  # whatever it is, the pods behind it matter too, and it is logged
            first = unit.members[0]
            _log.exception("waiting pod passed over", pod=first.name, namespace=first.namespace)
            for one in unit.members:
                self._engine.line.served(one.uid)
                self._teller.say(one, _FAILED)

    def _consider(self, unit: Unit) -> None:
        """Grant a unit, or tell its pods why not."""
        if any(self._opener.resting(one) for one in unit.members):
            return
        had = {one.uid: granted for one in unit.members if (granted := self._half_done(one)) is not None}
        sentence = unit.waits
        members: list[Member] = []
        for one in unit.members:
            read = self._engine.line.reader.read(one)
            if isinstance(read, str):
                sentence = sentence or f"{one.name}: {read}" if unit.group else read
            else:
                members.append((one, read))
        sentence = sentence or self._grant(unit, members, had)
        if not sentence:
            return
        gone_on = set(self._go_on(unit, members, had)) if unit.group and had else set[str]()
        for one in unit.members:
            if one.uid not in gone_on:
                self._teller.say(one, sentence, self._engine.line.spots.get(one.uid))

    def _go_on(self, unit: Unit, members: Sequence[Member], had: dict[str, Granted]) -> list[str]:
        """Grants from before of a group that has to wait must not lie idle: the pods that go on with theirs, by UID.

        Where a gate of the group is open, it had begun, and only died half-way: those that were granted with it go on.
        Else what its pods hold is given back.
        """
        world, first = self._engine.world, unit.members[0]
        if unit.group is None or not world.pods.members(first.namespace, unit.group.name):
            idle = (Opening(one=one, granted=had[one.uid], fresh=False) for one in unit.members if one.uid in had)
            self._round.idle.extend(idle)
            return []
        begun = [(one, read) for one, read in members if one.uid in had]
        for member in begun:
            self._decide([member], had, ())
        return [one.uid for one, _ in begun]

    def _half_done(self, one: Waiting) -> Granted | None:
        """The grant that a pod already has, from a leader that stopped half-way."""
        world = self._engine.world
        grant = world.ledgers.made_for(one.uid)
        inventory = None if grant is None else world.inventories.get(grant.allocation.node)
        if grant is None or inventory is None:
            return None
        if self._engine.committer.leaving(grant.allocation.id, grant.allocation.node):
            return None
        return Granted(grant=grant, inventory=inventory)

    def _grant(self, unit: Unit, members: Sequence[Member], had: dict[str, Granted]) -> str:
        """Decide on a unit's grants; else why not, in a sentence. Only what is kept for those before it counts now."""
        lacking = [(one, read) for one, read in members if one.uid not in had]
        sentence = self._over_quota(lacking)
        if sentence:
            self._drop_spots(lacking)
            return sentence
        key = tuple(read.key for _, read in lacking)
        sentence = self._round.refused.get(key, "")
        if not sentence:
            places, sentence = self._places(unit, lacking)
            if not sentence:
                return self._decide(members, had, places)
            self._round.refused[key] = sentence
        return self._wait(unit, lacking, sentence)

    def _places(self, unit: Unit, lacking: Sequence[Member]) -> tuple[list[Placement], str]:
        """A place for each; or why not for all of them."""
        engine, found = self._engine, list[Placement]()
        sentence = ""
        for one, read in lacking:
            try:
                place_ = place(engine.world.fleet, read.demand, engine.policies.named(read.demand.policy))
            except RequestError as reason:
                sentence = str(reason)
                break
            if not isinstance(place_, Placement):
                sentence = place_.summary
                break
            found.append(place_)
            if len(found) < len(lacking):
                spot = Spot(node=place_.node, containers=place_.containers)
                engine.line.keep(one, read.demand, spot, turn=unit.turn, fits=True)
        for one, _ in lacking[: len(found)]:
            engine.line.served(one.uid)
        if sentence and unit.group:
            sentence += f"; {len(found)} of {len(lacking)} pods of group {unit.group.name} fit together"
        return found, sentence

    def _decide(self, members: Sequence[Member], had: dict[str, Granted], places: Sequence[Placement]) -> str:
        """Count the grants from now on; else why not, in a sentence."""
        engine = self._engine
        decided: list[Opening] = []
        rest = iter(places)
        sentence = ""
        for one, read in members:
            granted = had.get(one.uid)
            if granted is not None:
                decided.append(Opening(one=one, granted=granted, fresh=False))
                continue
            used = engine.world.accounts.used(one.namespace)
            granted = engine.decide(read.asked, read.demand, next(rest))
            if granted is None:
                sentence = "its node has just gone; it is tried again"
                break
            decided.append(Opening(one=one, granted=granted, fresh=True))
            quota = engine.world.quotas.get(one.namespace)
            sentence = quota.excess(used, held(granted.grant)) if quota is not None else ""
            if sentence:
                break
        if sentence:
            for opening in decided:
                if opening.fresh:
                    engine.undo(opening.granted)
            return sentence
        engine.line.serving.update(opening.one.uid for opening in decided)
        for opening in decided:
            engine.line.spots.pop(opening.one.uid, None)
        self._round.openings.append(decided)
        return ""

    def _over_quota(self, lacking: Sequence[Member]) -> str:
        """Why the namespace's quota does not allow these pods, as far as is known before their GPUs are."""
        if not lacking:
            return ""
        namespace = lacking[0][0].namespace
        quota, used = self._engine.world.quotas.get(namespace), self._engine.world.accounts.used(namespace)
        if quota is None:
            return ""
        return quota.excess(used, least(*(read.asked.request for _, read in lacking)))

    def _wait(self, unit: Unit, lacking: Sequence[Member], sentence: str) -> str:
        """Keep room for a unit that fits nowhere, where it is entitled to it; returns what to tell it."""
        if len(lacking) == 1 and (preempting := self._preempt(*lacking[0])):
            return f"{sentence}; {preempting}"
        if not lacking or not self._entitled(unit):
            self._drop_spots(lacking)
            return sentence
        spots = self._spots(unit, lacking)
        if not spots:
            return sentence
        self._round.spots += 1
        self._round.holders.add(unit.members[0].namespace)
        return f"{sentence}; room is kept for it on {', '.join(sorted({spot.node for spot in spots}))}"

    def _entitled(self, unit: Unit) -> bool:
        """Whether room is kept for a unit: it has waited long, and is the first of its namespace that has."""
        settings, first = self._engine.settings.queue, unit.members[0]
        if self._round.spots >= settings.reservations or first.namespace in self._round.holders:
            return False
        return first.age(self._engine.clock.now()) >= settings.reserve_after

    def _spots(self, unit: Unit, lacking: Sequence[Member]) -> list[Spot]:
        """Where room is kept for each of a unit's pods, the same as before where that still stands; none: nowhere."""
        line, fleet = self._engine.line, self._engine.world.fleet
        found: list[Spot] = []
        for one, read in lacking:
            spot = line.spot(one)
            if spot is None or not stands(fleet, read.demand, spot):
                self._round.looks += 1
                spot = nearest(fleet, read.demand) if self._round.looks <= _MOST_LOOKS else None
            if spot is None:
                self._drop_spots(lacking)
                return []
            line.keep(one, read.demand, spot, turn=unit.turn)
            line.spots[one.uid] = spot
            found.append(spot)
        return found

    def _drop_spots(self, lacking: Sequence[Member]) -> None:
        """Keep no room for these any more."""
        for one, _ in lacking:
            self._engine.line.served(one.uid)
            self._engine.line.spots.pop(one.uid, None)

    def _preempt(self, one: Waiting, read: Reading) -> str:
        """Have others evicted for a pod, if the settings and priorities say so; what to tell it. Empty: not so."""
        preemption = self._preemptor.find(one, read.demand)
        if preemption is None or self._round.spots >= self._engine.settings.queue.reservations:
            return ""
        self._round.spots += 1
        self._engine.line.keep(one, read.demand, preemption.spot, turn=one.turn)
        self._engine.line.spots[one.uid] = preemption.spot
        self._preemptor.order(one, preemption)
        return f"pods of lower priority on {preemption.spot.node} make room for it"
