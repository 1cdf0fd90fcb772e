"""Puts an agent together out of its settings, and runs it."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Self

import structlog

from allocator.agent import announce, sight
from allocator.agent.agent import Agent, Duties
from allocator.agent.attest import Attestation, Kubelet, Senses
from allocator.agent.gpus import GpuSource
from allocator.agent.health import APPLICATION, Health
from allocator.agent.hostproc import Proc
from allocator.agent.infirmary import Infirmary
from allocator.agent.known import known
from allocator.agent.kubelet import Container, activity, kubelet_folder
from allocator.agent.leftovers import tidy
from allocator.agent.neighbours import Neighbourhood
from allocator.agent.patience import Patient, in_daemon_thread
from allocator.agent.prepare import NodePreparation
from allocator.agent.publisher import Publisher
from allocator.agent.sample import Latest
from allocator.agent.settings import AgentSettings
from allocator.agent.show import showing
from allocator.agent.simulated import STATE, SimulatedGpus
from allocator.agent.simulated_proc import RECORDS, SimulatedProc
from allocator.agent.tenancy import LedgerView, Tenancy
from allocator.agent.tracker import Change, Tracker
from allocator.agent.trust import Trust
from allocator.agent.turns import Timetables
from allocator.agent.users import Users
from allocator.agent.xids import FileEars, Listener, NvmlEars
from allocator.api import names
from allocator.api.inventory import Strategy
from allocator.kube import CONFIGMAPS, EventRecorder, Reflector, Selection
from allocator.kube.client import Client
from allocator.kube.clock import SystemClock

_log = structlog.get_logger(__name__)

_TIDY = 600.0
"""Seconds between two looks for interposers of earlier versions."""


async def serve(settings: AgentSettings, stop: asyncio.Event | None = None) -> None:
    """Run an agent until `stop` is set, or a signal comes."""
    stop = stop or _on_signals()
    clock, latest = SystemClock(), Latest()
    async with (
        showing(latest, settings.metrics, clock=clock),
        Client(settings.kube) as client,
        Background() as background,
    ):
        parts = _Parts(settings=settings, client=client, background=background, latest=latest, clock=clock)
        agent = parts.agent()
        _log.info("agent started", node=settings.node, simulated=settings.simulate is not None)
        await agent.run(stop)
    _log.info("agent stopped", node=settings.node)


@dataclass(slots=True)
class Background:
    """What ends with the agent."""

    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _ends: list[Callable[[], None]] = field(default_factory=list)

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """One more."""
        self._tasks.append(asyncio.create_task(work, name=name))

    def at_end(self, end: Callable[[], None]) -> None:
        """Have this called then."""
        self._ends.append(end)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in self._ends:
            end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass(slots=True)
class _Parts:
    """What an agent is made of."""

    settings: AgentSettings
    client: Client
    background: Background
    latest: Latest
    clock: SystemClock

    def agent(self) -> Agent:
        """The agent."""
        settings = self.settings
        source = _source(settings)
        kubelet, ledger = Kubelet(settings.host_root), LedgerView(settings.node)
        neighbourhood = Neighbourhood(root=settings.host_root, share=settings.share)
        return Agent(
            node=settings.node,
            source=source,
            duties=Duties(
                preparing=self._preparation(),
                publishing=Publisher(self.client, node=settings.node, namespace=settings.namespace, clock=self.clock),
                timetabling=Timetables(
                    host_dir=settings.host_dir,
                    look=holding(kubelet, ledger),
                    activity=lambda one: _activity(settings, one),
                    now=time.monotonic_ns,
                ),
                attesting=self._attestation(source, kubelet, ledger, neighbourhood),
                judging=self._infirmary(neighbourhood),
            ),
            clock=self.clock,
            pace=settings.pace,
        )

    def _preparation(self) -> NodePreparation:
        settings = self.settings
        return NodePreparation(
            source=settings.interposer,
            host_dir=settings.host_dir,
            version=version("vramshare"),
            # A simulated node has no runtime whose traces could be read; the simulated one takes both forms.
            chosen=settings.strategy or (Strategy.ENV if settings.simulate else None),
            root=settings.host_root,
        )

    def _attestation(
        self, source: GpuSource, kubelet: Kubelet, ledger: LedgerView, neighbourhood: Neighbourhood
    ) -> Attestation:
        settings = self.settings
        trust = Trust(settings.host_dir)
        users = Users(
            proc=process_table(settings),
            trusted=trust.identities,
            monotonic=self.clock.monotonic,
            brought=trust.brought,
        )
        senses = Senses(
            usage=Patient(source.usage, patience=settings.pace.patience),
            users=users,
            kubelet=kubelet,
            ledger=ledger,
            blind=sight.blind(settings.proc, os.environ),
        )
        recorder = EventRecorder(
            self.client, component="vramshare-agent", instance=settings.node, clock=self.clock, per_second=1.0
        )

        def changed(change: Change) -> None:
            if note := announce.note(change):
                recorder.record(note)

        def begin() -> None:
            self.background.start(self._watch(ledger).run(), name="ledger")
            self.background.start(recorder.run(), name="events")
            self.background.start(self._tidy(ledger), name="leftovers")

        return Attestation(
            senses=senses,
            clock=self.clock,
            known=known(settings.namespace, settings.known),
            changed=changed,
            others=lambda: neighbourhood.found.pods,
            begin=begin,
            tracker=Tracker(evict=settings.evict),
            latest=self.latest,
        )

    async def _tidy(self, ledger: LedgerView) -> None:
        """Remove interposers that nobody needs any more, now and then."""
        settings = self.settings
        while True:
            await self.clock.sleep(_TIDY)
            try:
                gone = await in_daemon_thread(
                    lambda: tidy(settings.host_dir, ledger.ledger, process_table(settings), now=self.clock.now())
                )
                if gone:
                    _log.info("old interposers removed", files=[one.name for one in gone])
            except OSError as reason:
                _log.warning("old interposers not removed, will try again", reason=str(reason))

    def _infirmary(self, neighbourhood: Neighbourhood) -> Infirmary:
        settings = self.settings
        state = settings.host_root / STATE.lstrip("/")
        listener = Listener(FileEars(state / "events") if settings.simulate else NvmlEars(), now=self.clock.now)
        listener.start()
        self.background.at_end(listener.stop)
        health = Health(quiet=settings.xid_quiet, ignored=APPLICATION | settings.ignored_xids)
        return Infirmary(
            health=health,
            neighbourhood=neighbourhood,
            listener=listener,
            booted=process_table(settings).booted,
            now=self.clock.now,
        )

    def _watch(self, ledger: LedgerView) -> Reflector:
        """The node's ledger: one object, of which the watch tells every change."""
        settings = self.settings
        selection = Selection(
            CONFIGMAPS, namespace=settings.namespace, fields=f"metadata.name={names.ledger_name(settings.node)}"
        )
        return Reflector(self.client, selection, ledger, clock=self.clock, random=random.Random())  # noqa: S311 - jitter


def holding(kubelet: Kubelet, view: LedgerView) -> Callable[[], Iterable[Container] | None]:
    """Lists the containers that hold grants; None: the ledger has not been read yet."""
    tenancy = Tenancy()

    def look() -> Iterable[Container] | None:
        ledger = view.ledger
        return None if ledger is None else tenancy.of(ledger, kubelet.containers(regions=False))

    return look


def _activity(settings: AgentSettings, one: Container) -> Mapping[str, int]:
    """When a container last launched anything."""
    folder = kubelet_folder(settings.host_root)
    return activity(folder, one) if folder else {}


def process_table(settings: AgentSettings) -> Proc:
    """Where it is told whose a process is."""
    records = settings.host_root / RECORDS
    # The embedded cluster's nodes have no control groups, with this machine's own GPU as little as with simulated ones.
    if settings.simulate or records.is_dir():
        return SimulatedProc(settings.proc, records=records)
    return Proc(settings.proc)


def _source(settings: AgentSettings) -> GpuSource:
    if settings.simulate:
        return SimulatedGpus(settings.simulate, books=settings.host_root / STATE.lstrip("/") / "books")
    from allocator.agent.nvml import NvmlGpus  # noqa: PLC0415 - pynvml is an extra; a simulated node needs none

    return NvmlGpus(driver=settings.proc / "driver/nvidia/version" if sight.in_pod(os.environ) else None)


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
