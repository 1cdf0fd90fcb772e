"""Publishing who may launch when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from allocator.agent.kubelet import Container
from allocator.agent.region import GpuUse, Region
from allocator.agent.turns import Timetables
from allocator.api.allocation import Slice
from allocator.api.quantities import CoresPolicy, Memory
from allocator.core.lending import LEAST_PATIENCE
from allocator.core.timetable import LONGEST_CYCLE, MILLISECOND, SHORTEST_CYCLE

GPU = "GPU-1"


def container(tenant: str, cores: int, *, unit: int = 0, burst: bool = False) -> Container:
    """A container with one slice that says that its longest unit takes `unit` nanoseconds."""
    use = GpuUse(uuid=GPU, used=0, overhead=0, pending=0, peak=0, limit=0, refused=0, longest_unit=unit)
    policy = CoresPolicy.BURST if burst else CoresPolicy.HARD
    slices = (Slice(uuid=GPU, memory=Memory(1), cores=cores, policy=policy),)
    region = Region(gpus=(use,), processes=())
    return Container(uid="u", name="c", pod="p", slices=slices, region=region, tenant=tenant)


@dataclass
class Node:
    """Containers, when each last launched, and the time."""

    folder: Path
    there: list[Container] = field(default_factory=list)
    active: dict[str, int] = field(default_factory=dict)
    time: int = 10**12

    def tables(self) -> Timetables:
        """Tables for this node."""
        (self.folder / "gpus").mkdir(exist_ok=True)

        def activity(one: Container) -> Mapping[str, int]:
            return {GPU: self.active[one.tenant]} if one.tenant in self.active else {}

        return Timetables(host_dir=self.folder, look=lambda: self.there, activity=activity, now=lambda: self.time)

    @property
    def file(self) -> Path:
        """The GPU's table."""
        return self.folder / "gpus" / GPU

    def windows(self, tenant: str) -> int:
        """A tenant's time in the published cycle, in nanoseconds."""
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return sum(int(line[-1]) for line in lines if line[:2] == ["window", tenant])

    def cycle(self) -> int:
        """Of the published table."""
        return next(int(line.split()[1]) for line in self.file.read_text().splitlines() if line.startswith("cycle"))


Make = Callable[..., Node]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a node with containers."""
    return lambda *there: Node(folder=tmp_path, there=list(there))


def test_every_tenant_gets_its_share(make: Make) -> None:
    """One window each, named as the allocation lines name them."""
    node = make(container("1/a", 25), container("2/b", 40))
    node.tables().update()
    assert node.windows("1/a") == SHORTEST_CYCLE * 25 // 100
    assert node.windows("2/b") == SHORTEST_CYCLE * 40 // 100


def test_the_cycle_follows_the_longest_unit_within_bounds(make: Make) -> None:
    """A container that claims units of an hour lengthens the cycle no further than allowed."""
    node = make(container("1/a", 25))
    tables = node.tables()
    tables.update()
    assert node.cycle() == SHORTEST_CYCLE
    node.there.append(container("2/b", 0, unit=10**13))
    tables.update()
    assert node.cycle() == LONGEST_CYCLE


def test_a_container_of_an_older_version_has_no_window(make: Make) -> None:
    """Without a name it cannot find one; nobody else loses theirs."""
    node = make(container("", 25), container("2/b", 40))
    node.tables().update()
    assert node.file.read_text().count("window") == 1
    assert node.windows("2/b") > 0


def test_idle_time_is_lent_and_taken_back_when_its_owner_works(make: Make) -> None:
    """With the next look after the owner's launch, and nothing is written while nothing changes."""
    node = make(container("1/a", 30, burst=True), container("2/b", 70))
    node.active = {"1/a": node.time, "2/b": node.time}
    tables = node.tables()
    tables.update()
    assert tables.lending
    assert node.windows("1/a") == SHORTEST_CYCLE * 30 // 100
    node.time += LEAST_PATIENCE
    node.active["1/a"] = node.time
    tables.lend()
    assert node.windows("1/a") == SHORTEST_CYCLE
    assert node.windows("2/b") == SHORTEST_CYCLE * 70 // 100
    lent = node.file.stat().st_ino
    node.time += 100 * MILLISECOND
    tables.lend()
    tables.update()
    assert node.file.stat().st_ino == lent
    node.active["2/b"] = node.time
    tables.lend()
    assert node.windows("1/a") == SHORTEST_CYCLE * 30 // 100


def test_a_hard_tenant_is_lent_nothing(make: Make) -> None:
    """And nobody is watched for it."""
    node = make(container("1/a", 30), container("2/b", 70))
    tables = node.tables()
    tables.update()
    assert not tables.lending
    assert node.windows("1/a") == SHORTEST_CYCLE * 30 // 100


def test_files_come_change_and_go(make: Make) -> None:
    """A table is there while somebody has a share, is left alone while nothing changes, and is removed then."""
    node = make(container("1/a", 25))
    tables = node.tables()
    tables.update()
    first = node.file.stat()
    tables.update()
    assert node.file.stat().st_ino == first.st_ino
    node.there.append(container("2/b", 40))
    tables.update()
    assert node.windows("2/b") > 0
    node.there.clear()
    tables.update()
    assert list(node.file.parent.iterdir()) == []


def test_a_table_of_an_earlier_agent_is_removed(make: Make) -> None:
    """An agent that starts on a node where nobody has a share any more clears up."""
    node = make()
    tables = node.tables()
    node.file.with_name("GPU-gone").write_text("format 1\n")
    tables.update()
    assert list(node.file.parent.iterdir()) == []
