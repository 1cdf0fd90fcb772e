"""Tells waiting pods why they wait, by Event and annotation: news soon, repetitions never, all of it paced."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from allocator.api import names
from allocator.controller.engine import Engine
from allocator.controller.notes import waiting_note
from allocator.core.queue import Waiting
from allocator.core.reservation import Spot
from allocator.kube import PODS, EventRecorder, KubeError, StaleError

_log = structlog.get_logger(__name__)
_TRIES: Final = 3
"""How often one pod that is being changed is read and written again."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a waiting pod was last told, and when on our clock."""

    sentence: str
    reserved: str
    since: float


class Teller:
    """Collects what is to be said in a round, and says it."""

    def __init__(self, engine: Engine, recorder: EventRecorder) -> None:
        self._engine = engine
        self._recorder = recorder
        self._told: dict[str, _Told] = {}
        self._due: dict[str, tuple[Waiting, str, str]] = {}

    def forget_all_but(self, uids: Iterable[str]) -> None:
        """Remember only these pods."""
        kept = set(uids)
        self._told = {uid: told for uid, told in self._told.items() if uid in kept}

    def say(self, one: Waiting, sentence: str, spot: Spot | None = None) -> None:
        """Have a pod told why it waits, and what is kept for it, if that is news and was not told just now.

        What is kept for it matters to other replicas too, and is written without delay.
        """
        now, told = self._engine.clock.monotonic(), self._told.get(one.uid)
        reserved = spot.to_text() if spot is not None else ""
        said = one.reason == sentence
        news = told is None or told.sentence != sentence
        if told is not None and told.reserved == reserved:
            if now - told.since < self._pause() or (said and not news and one.reserved == reserved):
                return
        elif not news and said and one.reserved == reserved:
            return
        self._told[one.uid] = _Told(sentence=sentence, reserved=reserved, since=now)
        if news:
            self._recorder.record(waiting_note(one, sentence))
        if not said or one.reserved != reserved:
            self._due[one.uid] = (one, sentence, reserved)

    async def flush(self) -> None:
        """Write what is to be said, many at a time."""
        due, self._due = self._due, {}
        limit = asyncio.Semaphore(self._engine.settings.queue.at_once)

        async def write(one: Waiting, sentence: str, reserved: str) -> None:
            async with limit:
                await self._write(one, sentence, reserved)

        await asyncio.gather(*(write(*told) for told in due.values()))

    def _pause(self) -> float:
        """Seconds between two updates of one pod, so that all together are not too many."""
        settings = self._engine.settings.queue
        return max(settings.retell, self._engine.world.pods.depth() / settings.tells_per_second)

    async def _write(self, one: Waiting, sentence: str, reserved: str) -> None:
        try:
            await self._patch(one, {names.REASON: sentence, names.RESERVED: reserved or None})
        except KubeError as reason:
            # Said again in a later round, for the annotation still says something else.
            _log.info("reason not written", pod=one.name, namespace=one.namespace, reason=str(reason))

    async def _patch(self, one: Waiting, annotations: Mapping[str, str | None]) -> None:
        """Write annotations into a pod that waits: into one version of it, for a granted one must never say so.

        Raises:
            KubeError: they are not written, or nobody knows.
        """
        client, waits = self._engine.client, one
        for _ in range(_TRIES):
            metadata = {"uid": one.uid, "resourceVersion": waits.pod["metadata"]["resourceVersion"]}
            patch = {"metadata": metadata | {"annotations": dict(annotations)}}
            try:
                await client.patch(PODS, one.name, patch, namespace=one.namespace)
            except StaleError:
                current = Waiting.of(await client.get(PODS, one.name, namespace=one.namespace))
                if current is None or current.uid != one.uid:
                    return
                waits = current
            else:
                return
