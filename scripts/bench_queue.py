"""What a long queue costs: a newcomer's place while others wait, and the leader's choice of places to keep.

Everything is fed into the allocator's books directly, so that processor time of deciding alone is measured, without
an API server. Times are processor time, in milliseconds.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import structlog

from allocator.api import names
from allocator.api.errors import NoCapacityError
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.api.request import parse_pod
from allocator.controller.line import Line
from allocator.controller.planning import demand_of
from allocator.controller.public import GrantRequest
from allocator.controller.reading import Reader, Reading
from allocator.controller.settings import AgentSettings, AllocatorSettings
from allocator.controller.world import World
from allocator.core.policies import Policies
from allocator.core.reservation import nearest
from allocator.kube import Client, KubeSettings, SystemClock
from webhook.mutation import files

_GIB: Final = 1024
SETTINGS: Final = AllocatorSettings(agents=AgentSettings(may_be_absent=True))


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        nodes: of eight GPUs of 46 GiB each.
        waiting: pods in the queue.
        kinds: how many different requests they make.
        free: nodes with nothing on them; on the others each GPU has 2 GiB left.
    """

    nodes: int
    waiting: int
    kinds: int
    free: int


def pod(name: str, *, mib: int, uid: str = "", gated: bool = False) -> dict[str, Any]:
    """A pod, as it comes or as it waits."""
    annotations = {names.memory_annotation("c"): f"{mib}Mi"}
    if gated:
        annotations[names.STATUS] = names.STATUS_QUEUED
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": uid,
            "annotations": annotations,
            "creationTimestamp": f"2026-01-01T00:{int(uid or 0) // 60 % 60:02}:{int(uid or 0) % 60:02}Z",
        },
        "spec": {
            "containers": [{"name": "c", "volumeMounts": files.mounts("c")}],
            "schedulingGates": [{"name": names.GATE}] if gated else [],
        },
    }


def world_of(plan: Plan) -> World:
    """A cluster that is nearly full, with a queue."""
    world = World(Client(KubeSettings()), SETTINGS, clock=SystemClock(), random=Random(1))
    for number in range(plan.nodes):
        name = f"gpu-{number:05}"
        status = {
            "allocatable": {"cpu": "128", "memory": "1Ti", "pods": "500"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        world.nodes.put(f"/{name}", {"metadata": {"name": name}, "status": status})
        foreign = Memory(0) if number < plan.free else Memory.mib(44 * _GIB)
        gpus = tuple(
            Gpu(uuid=f"GPU-{number:05}-{at}", index=at, model="L40S", memory=Memory.mib(46 * _GIB), foreign=foreign)
            for at in range(8)
        )
        inventory = Inventory(node=name, gpus=gpus, interposer="/opt/vramshare/lib.so")
        metadata = {"name": names.inventory_name(name), "namespace": SETTINGS.namespace}
        world.inventories.put(
            f"{SETTINGS.namespace}/{metadata['name']}", {"metadata": metadata, "data": inventory.to_data()}
        )
    for number in range(plan.waiting):
        mib = 8 * _GIB + number % plan.kinds
        world.pods.put(f"team/w{number}", pod(f"w{number}", mib=mib, uid=str(number + 1), gated=True))
    return world


def timed(what: str, act: Callable[[], None], *, times: int) -> None:
    """Print the median and the worst of several runs."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        act()
        taken.append(1000 * (time.process_time() - began))
    taken.sort()
    print(f"{what:64}  median {taken[len(taken) // 2]:8.2f} ms  worst {taken[-1]:8.2f} ms", flush=True)


def measure(plan: Plan) -> None:
    """All of it, on one cluster."""
    world = world_of(plan)
    reader = Reader(lambda asked: demand_of(asked, runtimes=world.runtimes.get, settings=SETTINGS))
    line = Line(world, Policies(), reader, clock=SystemClock(), spots=SETTINGS.queue.reservations)
    fresh = pod("new", mib=_GIB)
    request = parse_pod(fresh)
    if request is None:
        raise SystemExit("the pod asks for nothing")
    asked = GrantRequest(request=request, pod=fresh, namespace="other", pod_name="new")
    demand = demand_of(asked, runtimes=world.runtimes.get, settings=SETTINGS)

    def come() -> None:
        with suppress(NoCapacityError):
            line.place(asked, demand)

    def come_after_a_change() -> None:
        line.stirred(queue=False)
        come()

    come()
    timed("a newcomer, nothing has changed since the last", come, times=50)
    timed("a newcomer after a change: what is kept is worked out anew", come_after_a_change, times=20)
    readings = (reader.read(unit.members[0]) for unit in line.units())
    for first in (one for one in readings if isinstance(one, Reading)):
        timed("a place to be kept for a pod", lambda found=first: _ignore(nearest(world.fleet, found.demand)), times=20)
        break


def _ignore(_: object) -> None:
    """The time is what counts."""


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000, help="nodes of eight GPUs")
    parser.add_argument("--waiting", type=int, default=1000, help="pods in the queue")
    parser.add_argument("--kinds", type=int, default=20, help="different requests among them")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    for title, free, waiting in (
        ("nobody waits", 0, 0),
        ("all wait for room that is not there", 0, args.waiting),
        ("there is room for many of them", args.nodes // 10, args.waiting),
    ):
        print(f"{args.nodes} nodes, {waiting} pods wait: {title}")
        measure(Plan(nodes=args.nodes, waiting=waiting, kinds=args.kinds, free=free))


if __name__ == "__main__":
    main()
