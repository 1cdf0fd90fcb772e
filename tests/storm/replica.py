"""One replica of the webhook with its allocator, as a process that can be killed."""

import asyncio
from dataclasses import replace
from itertools import count
from random import Random

from allocator.controller import (
    AgentSettings,
    Allocator,
    AllocatorSettings,
    CommitSettings,
    GiveBackSettings,
    QueueSettings,
    WatchSettings,
)
from allocator.kube import Backoff
from tests.storm.line import Line
from tests.storm.process import Process, SkewedClock
from webhook.admission import Admission
from webhook.denials import denial
from webhook.review import Answer, Review
from webhook.settings import AdmissionSettings, WebhookSettings

REQUEST_LIMIT = 10.0
GRACE = 15.0
OWN_USER = "system:serviceaccount:vramshare-system:vramshare"
SETTINGS = AllocatorSettings(
    stale_after=20.0,
    agents=AgentSettings(max_age=20.0),
    commit=CommitSettings(lazy=1.0),
    give_back=replace(GiveBackSettings(), request_limit=REQUEST_LIMIT, grace=GRACE, sweep=5.0),
    queue=replace(QueueSettings(), retry=5.0),
    watch=WatchSettings(seconds=40, backoff=Backoff(most=4.0)),
)
PREEMPTING = replace(SETTINGS, queue=replace(SETTINGS.queue, preempt=True))
WEBHOOK = WebhookSettings(admission=AdmissionSettings(own_users=frozenset({OWN_USER})))


class Replica:
    """Starts at once; `admission` answers reviews."""

    def __init__(
        self,
        process: Process,
        line: Line,
        clock: SkewedClock,
        *,
        random: Random,
        ids: "count[int]",
        settings: AllocatorSettings = SETTINGS,
    ) -> None:
        self.process = process
        self.line = line
        self.allocator = Allocator(
            replace(settings, identity=process.name),
            client=line,
            clock=clock,
            random=random,
            new_id=lambda: f"g{next(ids)}",
        )
        self._admission = Admission(WEBHOOK, self.allocator)
        self._stopping = asyncio.Event()
        self._life = asyncio.create_task(self._live(), name=process.name)

    @property
    def ready(self) -> bool:
        """Whether the Service sends it reviews."""
        return not self.process.dead and self.allocator.ready

    async def answer(self, review: Review) -> Answer:
        """What the webhook's endpoint does, HTTP left out."""
        await self.process.gate()
        try:
            async with asyncio.timeout(WEBHOOK.admission.deadline):
                answer = await self._admission.answer(review)
        except Exception as reason:  # noqa: BLE001 - as in webhook.app
            answer = denial(reason)
        await self.process.gate()
        return answer

    async def stop(self) -> None:
        """SIGTERM: it gives up its Lease and goes."""
        self._stopping.set()
        await asyncio.wait([self._life, self.process.died], return_when=asyncio.FIRST_COMPLETED)
        self.process.kill()

    async def _live(self) -> None:
        async with self.allocator:
            await self._stopping.wait()
