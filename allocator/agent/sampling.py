"""Puts one look's findings into a `Sample`. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from allocator.agent.gpus import GpuUsage
from allocator.agent.judge import Judgement, Key, Verdict
from allocator.agent.kubelet import Container
from allocator.agent.region import GpuUse
from allocator.agent.sample import AgentSample, ContainerSample, GpuSample, Sample, SliceSample
from allocator.agent.tenancy import Ledger
from allocator.api.allocation import Slice
from allocator.api.inventory import Gpu, Inventory

_NANO: Final = 1e9


@dataclass(frozen=True, slots=True)
class Findings:
    """What a sample is made of.

    Attributes:
        inventory: what is published of the node.
        usages: what goes on on its GPUs.
        tenants: containers with slices.
        ledger: the grants.
        judgement: what the look found; None: the ledger is not known yet.
        told: what is told of a container; None: nothing yet.
    """

    inventory: Inventory
    usages: tuple[GpuUsage, ...] = ()
    tenants: tuple[Container, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    judgement: Judgement | None = None
    told: Callable[[Key], Verdict | None] = lambda _: None


def sample(found: Findings, *, at: datetime, agent: AgentSample) -> Sample:
    """The node at one moment."""
    granted: dict[str, list[Slice]] = {}
    for part in found.ledger.slices():
        granted.setdefault(part.uuid, []).append(part)
    usages = {one.uuid: one for one in found.usages}
    held = found.judgement.held if found.judgement else {}
    counts = found.judgement.processes if found.judgement else {}
    containers = {
        (one.uid, one.name): _container(one, found, held=held, processes=counts.get((one.uid, one.name), 0))
        for one in found.tenants
    }
    for verdict in found.judgement.verdicts if found.judgement else ():
        key = (verdict.uid, verdict.container)
        if key not in containers:
            containers[key] = _without_slices(verdict, found, processes=counts.get(key, 0))
    return Sample(
        node=found.inventory.node,
        at=at,
        gpus=tuple(_gpu(one, usages.get(one.uuid), granted.get(one.uuid, [])) for one in found.inventory.gpus),
        containers=_by_name(containers.values()),
        agent=agent,
    )


def _by_name(containers: Iterable[ContainerSample]) -> tuple[ContainerSample, ...]:
    """One for each name: of a pod and its namesake that is just ending, the one with processes."""
    chosen: dict[tuple[str, str, str], ContainerSample] = {}
    for one in sorted(containers, key=lambda one: (one.processes, one.uid)):
        chosen[one.namespace, one.pod, one.container] = one
    return tuple(chosen[key] for key in sorted(chosen))


def _gpu(gpu: Gpu, usage: GpuUsage | None, slices: list[Slice]) -> GpuSample:
    usage = usage or GpuUsage(uuid=gpu.uuid)
    return GpuSample(
        uuid=gpu.uuid,
        index=gpu.index,
        model=gpu.model,
        total=gpu.memory.count,
        used=usage.used,
        free=usage.free,
        reserve=gpu.reserve.count,
        foreign=gpu.foreign.count,
        granted=sum(one.memory.count for one in slices),
        slices=len(slices),
        utilisation=usage.utilisation,
        temperature=usage.temperature,
        power=usage.power,
        health=gpu.health,
    )


def _container(
    one: Container, found: Findings, *, held: Mapping[tuple[Key, str], int], processes: int
) -> ContainerSample:
    key = (one.uid, one.name)
    used = {gpu.uuid: gpu for gpu in one.region.gpus} if one.region else {}
    namespace, _, pod = one.pod.rpartition("/")
    told = found.told(key)
    return ContainerSample(
        namespace=namespace,
        pod=pod,
        uid=one.uid,
        container=one.name,
        state=told.state if told else None,
        reason=told.reason if told else "",
        slices=tuple(
            _slice(part, used.get(part.uuid), None if found.judgement is None else held.get((key, part.uuid), 0))
            for part in one.slices
        ),
        processes=processes,
    )


def _slice(part: Slice, use: GpuUse | None, host: int | None) -> SliceSample:
    cores = part.cores / 100 if part.cores else None
    if use is None:
        return SliceSample(uuid=part.uuid, limit=part.memory.count, host=host, cores=cores)
    return SliceSample(
        uuid=part.uuid,
        limit=part.memory.count,
        used=use.total,
        peak=max(use.peak, use.total),
        overhead=use.overhead,
        host=host,
        refused=use.refused,
        cores=cores,
        time_used=use.time_used / _NANO,
        throttled=use.time_waited / _NANO,
    )


def _without_slices(verdict: Verdict, found: Findings, *, processes: int) -> ContainerSample:
    told = found.told((verdict.uid, verdict.container))
    namespace, _, pod = verdict.pod.partition("/")
    return ContainerSample(
        namespace=namespace,
        pod=pod,
        uid=verdict.uid,
        container=verdict.container,
        state=told.state if told else None,
        reason=told.reason if told else "",
        processes=processes,
    )
