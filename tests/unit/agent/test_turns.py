"""Publishing who may launch when."""

from pathlib import Path

from allocator.agent.kubelet import Container
from allocator.agent.region import GpuUse, Region
from allocator.agent.turns import Timetables, tables_of
from allocator.api.allocation import Slice
from allocator.api.quantities import Memory
from allocator.core.timetable import LONGEST_CYCLE, SHORTEST_CYCLE

GPU = "GPU-1"


def container(tenant: str, cores: int, *, unit: int = 0, gpu: str = GPU) -> Container:
    """A container with one slice that says that its longest unit takes `unit` nanoseconds."""
    use = GpuUse(uuid=gpu, used=0, overhead=0, pending=0, peak=0, limit=0, refused=0, longest_unit=unit)
    slices = (Slice(uuid=gpu, memory=Memory(1), cores=cores),)
    region = Region(gpus=(use,), processes=())
    return Container(uid="u", name="c", pod="p", slices=slices, region=region, tenant=tenant)


def test_every_tenant_gets_its_share() -> None:
    """One window each, named as the allocation lines name them."""
    table = tables_of([container("1/a", 25), container("2/b", 40)])[GPU]
    assert set(table.windows) == {"1/a", "2/b"}


def test_the_cycle_follows_the_longest_unit_within_bounds() -> None:
    """A container that claims units of an hour lengthens the cycle no further than allowed."""
    assert tables_of([container("1/a", 25)])[GPU].cycle == SHORTEST_CYCLE
    assert tables_of([container("1/a", 25), container("2/b", 0, unit=10**13)])[GPU].cycle == LONGEST_CYCLE


def test_a_container_of_an_older_version_has_no_window() -> None:
    """Without a name it cannot find one; nobody else loses theirs."""
    assert set(tables_of([container("", 25), container("2/b", 40)])[GPU].windows) == {"2/b"}


def test_files_come_change_and_go(tmp_path: Path) -> None:
    """A table is there while somebody has a share, is left alone while nothing changes, and is removed then."""
    there = [container("1/a", 25)]
    tables = Timetables(host_dir=tmp_path, look=lambda: there)
    (tmp_path / "gpus").mkdir()
    tables.update()
    first = (tmp_path / "gpus" / GPU).stat()
    tables.update()
    assert (tmp_path / "gpus" / GPU).stat().st_ino == first.st_ino
    there.append(container("2/b", 40))
    tables.update()
    assert "window 2/b" in (tmp_path / "gpus" / GPU).read_text()
    there.clear()
    tables.update()
    assert list((tmp_path / "gpus").iterdir()) == []


def test_a_table_of_an_earlier_agent_is_removed(tmp_path: Path) -> None:
    """An agent that starts on a node where nobody has a share any more clears up."""
    (tmp_path / "gpus").mkdir()
    (tmp_path / "gpus" / "GPU-gone").write_text("format 1\n")
    Timetables(host_dir=tmp_path, look=list).update()
    assert list((tmp_path / "gpus").iterdir()) == []
