"""What the agent says of its node, decided from what it found. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from allocator.agent.gpus import Reading
from allocator.agent.interposer import Installed
from allocator.api.inventory import HEALTHY, Gpu, Inventory, Strategy
from allocator.api.isolation import Eviction, Finding
from allocator.api.quantities import NO_MEMORY, Memory
from allocator.api.settled import Settled

NO_DRIVER: Final = "no NVIDIA driver on this node"
NO_GPU: Final = "the driver lists no GPU"
GONE: Final = "gone: the driver no longer lists this GPU"
NOT_IN_CDI: Final = (
    "no CDI spec names this GPU by its UUID; on the node run "
    "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"
)


@dataclass(frozen=True, slots=True)
class Preparation:
    """Whether containers can be given GPUs here.

    Attributes:
        installed: the interposer in place; None where that failed.
        strategy: how a GPU reaches a container.
        reason: why not; empty where they can.
        in_cdi: the GPUs that the node's CDI specs name; None where the strategy needs none.
    """

    installed: Installed | None
    strategy: Strategy
    reason: str = ""
    in_cdi: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What the looks at the node's processes add to the inventory.

    Attributes:
        findings: containers that are not isolated.
        evictions: pods that should go.
        released: allocations of which nothing is left.
        foreign: memory held outside of grants, by GPU.
        settled: slices that were made smaller, and whose containers keep within it.
    """

    findings: tuple[Finding, ...] = ()
    evictions: tuple[Eviction, ...] = ()
    released: frozenset[str] = frozenset()
    foreign: Mapping[str, Memory] = field(default_factory=dict)
    settled: tuple[Settled, ...] = ()


def reported(inventory: Inventory, report: Report) -> Inventory:
    """The inventory with what the looks have found."""
    return replace(
        inventory,
        gpus=tuple(
            replace(gpu, foreign=max(gpu.foreign, report.foreign.get(gpu.uuid, NO_MEMORY))) for gpu in inventory.gpus
        ),
        findings=report.findings,
        evictions=report.evictions,
        released=report.released,
        settled=report.settled,
    )


def describe(node: str, reading: Reading, preparation: Preparation, *, before: Inventory | None) -> Inventory:
    """The inventory of a node whose GPUs were read.

    Args:
        node: its name.
        reading: what the source said.
        preparation: whether containers can be given GPUs.
        before: what this agent said last; a GPU that has vanished since stays listed, unhealthy, until the agent
            starts anew, because grants may name it.
    """
    listed = {gpu.uuid for gpu in reading.gpus}
    gone = tuple(replace(gpu, health=GONE) for gpu in (before.gpus if before else ()) if gpu.uuid not in listed)
    installed = preparation.installed
    return Inventory(
        node=node,
        gpus=tuple(_judged(gpu, preparation.in_cdi) for gpu in reading.gpus) + gone,
        strategy=preparation.strategy,
        interposer=installed.path if installed else "",
        interposer_sha256=installed.sha256 if installed else "",
        reason=preparation.reason or ("" if reading.gpus else NO_GPU),
        driver=reading.driver,
        cuda=reading.cuda,
    )


def _judged(gpu: Gpu, in_cdi: frozenset[str] | None) -> Gpu:
    """The GPU, unhealthy if no container could be given it."""
    return gpu if not gpu.healthy or in_cdi is None or gpu.uuid in in_cdi else replace(gpu, health=NOT_IN_CDI)


def unanswered(node: str, reason: str, *, before: Inventory | None) -> Inventory:
    """The inventory of a node whose GPUs could not be read now: as before, no GPU taking new grants."""
    if before is None:
        return Inventory(node=node, gpus=(), strategy=Strategy.NONE, reason=reason)
    gpus = tuple(replace(gpu, health=reason) if gpu.health == HEALTHY else gpu for gpu in before.gpus)
    return replace(before, gpus=gpus, reason=reason)


def without_driver(node: str, *, before: Inventory | None) -> Inventory | None:
    """The inventory of a node without a driver: None where there never was one, and so nothing to correct."""
    return None if before is None or not before.gpus else unanswered(node, NO_DRIVER, before=before)
