"""Finding containers in the kubelet's folder, and the table that shows them."""

import os
from argparse import ArgumentParser
from pathlib import Path

import pytest

from allocator.agent.kubelet import Container, activity, containers, kubelet_folder
from allocator.agent.region import GpuUse, Region
from allocator.agent.top import HEADER, Reading, command, rows, table
from allocator.agent.top_rows import cells
from allocator.api.allocation import Slice
from allocator.api.errors import VramshareError
from allocator.api.quantities import CoresPolicy, Memory
from tests.unit.agent.test_region import UUIDS, made

UID = "0b6f7a1e-0000-4000-8000-000000000001"
GPU = f"GPU-{UUIDS[0]}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node with one pod of one container, which has used its GPU."""
    pod = tmp_path / "var/lib/kubelet/pods" / UID / "volumes"
    allocation = pod / "kubernetes.io~downward-api/vramshare-allocation-main"
    (allocation / "..2026").mkdir(parents=True)
    (allocation / "..2026/allocation").write_text(f"{GPU} memory=1000 cores=25\n")
    (allocation / "..data").symlink_to("..2026")
    (allocation / "allocation").symlink_to("..data/allocation")
    (pod / "kubernetes.io~downward-api/podinfo").mkdir()
    region = pod / "kubernetes.io~empty-dir/vramshare-region/main"
    region.mkdir(parents=True)
    (region / "region").write_bytes(made())
    (tmp_path / "var/log/pods" / f"team_worker-1_{UID}").mkdir(parents=True)
    return tmp_path


def look(root: Path) -> list[Container]:
    """What is found on the node."""
    folder = kubelet_folder(root)
    assert folder is not None
    return list(containers(folder, logs=root / "var/log/pods"))


def test_finds_what_is_allowed_and_what_is_used(root: Path) -> None:
    """Limits out of the kubelet's file, use out of the region, the name out of the logs."""
    (one,) = look(root)
    assert (one.pod, one.name, one.problem) == ("team/worker-1", "main", "")
    assert one.slices == (Slice(uuid=GPU, memory=Memory(1000), cores=25),)
    assert one.region is not None
    assert one.region.gpus[0].total == 330


def test_tells_quickly_when_a_container_was_last_active(root: Path) -> None:
    """By GPU; a container without a readable region counts as never active."""
    folder = kubelet_folder(root)
    assert folder is not None
    (one,) = look(root)
    assert activity(folder, one)[GPU] == 10**9
    file = folder / "pods" / UID / "volumes/kubernetes.io~empty-dir/vramshare-region/main/region"
    file.write_bytes(b"nonsense")
    assert activity(folder, one) == {}
    file.unlink()
    assert activity(folder, one) == {}


def test_a_container_that_has_not_touched_its_gpu_has_no_region(root: Path) -> None:
    """It is listed with what it may use."""
    region = root / "var/lib/kubelet/pods" / UID / "volumes/kubernetes.io~empty-dir/vramshare-region/main/region"
    region.unlink()
    (one,) = look(root)
    assert (one.region, one.problem) == (None, "")
    region.parent.rmdir()
    assert look(root) == [one]


def test_a_linked_folder_of_a_tenant_is_not_followed(root: Path) -> None:
    """A container that mounts the whole volume could turn its neighbour's folder into a link."""
    folder = root / "var/lib/kubelet/pods" / UID / "volumes/kubernetes.io~empty-dir/vramshare-region"
    (folder / "main").rename(root / "elsewhere")
    (folder / "main").symlink_to(root / "elsewhere")
    (one,) = look(root)
    assert one.region is None
    assert one.problem


def test_a_broken_region_leaves_the_limits_readable(root: Path) -> None:
    """The problem is told in the table, and the others go on."""
    region = root / "var/lib/kubelet/pods" / UID / "volumes/kubernetes.io~empty-dir/vramshare-region/main/region"
    region.write_bytes(b"rubbish")
    (one,) = look(root)
    assert one.slices
    assert one.problem == "region: cut off"
    shown = rows(Reading(at=0, containers=[one]), Reading(at=0, containers=()))
    assert any("region: cut off" in line for line in table(shown))


def test_a_pod_without_logs_goes_by_its_uid(root: Path) -> None:
    """Better than nothing."""
    (root / "var/log/pods" / f"team_worker-1_{UID}").rmdir()
    assert look(root)[0].pod == UID


def test_the_kubelets_folder_is_found_on_other_distributions(tmp_path: Path) -> None:
    """MicroK8s keeps it in its snap."""
    assert kubelet_folder(tmp_path) is None
    folder = tmp_path / "var/snap/microk8s/common/var/lib/kubelet"
    (folder / "pods").mkdir(parents=True)
    assert kubelet_folder(tmp_path) == folder


def test_the_table_is_aligned_and_says_used_of_limit(root: Path) -> None:
    """One row per container and GPU."""
    now = Reading(at=1000, containers=look(root))
    header, row = table(rows(now, Reading(at=0, containers=())))
    expected = ["team/worker-1", "main", GPU, "0Mi", "0Mi", "33%", "0Mi", "3", "-", "25%", "-", "-", "3"]
    assert row.split() == expected
    assert header.index("USED") == row.index("0Mi")


def timed(*, used: int, waited: int, debt: int = 0) -> Container:
    """A burst container with this account of its GPU time, in milliseconds."""
    use = GpuUse(
        uuid=GPU,
        used=0,
        overhead=0,
        pending=0,
        peak=0,
        limit=0,
        refused=0,
        time_used=used * 10**6,
        time_waited=waited * 10**6,
        time_debt=debt * 10**6,
    )
    part = Slice(uuid=GPU, memory=Memory(1), cores=25, policy=CoresPolicy.BURST)
    return Container(uid=UID, name="c", pod="p", slices=(part,), region=Region(gpus=(use,), processes=()))


def test_the_table_says_what_share_of_gpu_time_was_used() -> None:
    """Of the time between two readings, beside the cap, the time that launches were held back and what is owed."""
    before = Reading(at=0, containers=[timed(used=1000, waited=500)])
    now = Reading(at=2 * 10**9, containers=[timed(used=1480, waited=1500, debt=-3)])
    (row,) = rows(now, before)
    assert cells(row)[HEADER.index("TIME%") : HEADER.index("PROCESSES")] == ("24%", "25%+", "50%", "-3.0ms")


def test_the_command_prints_one_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`vramshare top --once`."""
    parser = ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["--once", "--sample", "0", "--host-root", os.fspath(root)])) == 0
    assert "team/worker-1" in capsys.readouterr().out


def test_a_machine_without_a_kubelet_is_told_what_to_name(tmp_path: Path) -> None:
    """No empty table for a wrong place."""
    parser = ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(VramshareError, match="--kubelet-dir"):
        command.run(parser.parse_args(["--once", "--host-root", os.fspath(tmp_path)]))
