"""Idle GPU time lent and taken back, by a real agent's timetables and real programs on a simulated GPU."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from allocator.agent.kubelet import activity, containers
from allocator.agent.turns import Timetables
from tests.native.loads import contained, frees, limits, phase, settles
from tests.native.support import Container, Machine

LOOK, LEND = 0.5, 0.1
"""Seconds between the agent's looks at its node, and at who is idle."""


@dataclass(frozen=True)
class Node:
    """A kubelet's folder, the folder that containers mount, and an agent that keeps the timetables."""

    folder: Path

    @property
    def library(self) -> Path:
        """What containers see as /opt/vramshare."""
        return self.folder / "library"

    def container(self, name: str, *, cores: int, policy: str = "hard") -> Container:
        """A container of a pod of its own, as the kubelet lays it out."""
        made = Container(self.folder / name, shared=self.library)
        made.folder.mkdir()
        made.limit(limits(cores, tenant=f"{name}/run", more=f"policy={policy}"))
        made.region.parent.mkdir()
        volumes = self.folder / "kubelet/pods" / name / "volumes"
        for kind, volume, target in (
            ("kubernetes.io~downward-api", "vramshare-allocation-run", made.allocation.parent),
            ("kubernetes.io~empty-dir", "vramshare-region", made.folder),
        ):
            (volumes / kind).mkdir(parents=True)
            (volumes / kind / volume).symlink_to(target)
        return made

    def tables(self) -> Timetables:
        """The agent's part."""
        kubelet = self.folder / "kubelet"
        return Timetables(
            host_dir=self.library,
            look=lambda: containers(kubelet, logs=self.folder / "logs"),
            activity=lambda one: activity(kubelet, one),
            now=time.monotonic_ns,
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node whose agent works until the test ends."""
    made = Node(tmp_path)
    (made.library / "gpus").mkdir(parents=True)
    tables, stop = made.tables(), threading.Event()

    def work() -> None:
        looked = 0.0
        while not stop.wait(LEND):
            if time.monotonic() - looked >= LOOK:
                looked = time.monotonic()
                tables.update()
            elif tables.lending:
                tables.lend()

    agent = threading.Thread(target=work)
    agent.start()
    yield made
    stop.set()
    agent.join()


def test_idle_time_is_lent_and_comes_back(machine: Machine, node: Node):
    """A burst tenant has the GPU while its neighbour is idle, its own share while that one works."""
    bursting = node.container("burst", cores=30, policy="burst")
    owning = node.container("owner", cores=70)
    borrower = contained(machine, bursting, cores=30)
    borrower.report()
    assert frees(lambda: phase(borrower))
    owner = contained(machine, owning, cores=70)
    owner.report()
    assert settles(lambda: phase(borrower, owner), 30, 70)
    owner.kill()
    assert frees(lambda: phase(borrower))
    borrower.kill()


def test_a_hard_tenant_is_lent_nothing(machine: Machine, node: Node):
    """It has its share, however idle its neighbour is."""
    there = node.container("hard", cores=30)
    node.container("owner", cores=70)
    load = contained(machine, there, cores=30)
    load.report()
    assert settles(lambda: phase(load), 30)
    load.kill()
