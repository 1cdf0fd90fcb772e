"""Allocations: their lines, their annotations, and how they are read back."""

import pytest

from allocator.api.allocation import (
    Allocation,
    Slice,
    allocation_of,
    allocation_text,
    parse_allocation_text,
    preload,
    result_annotations,
)
from allocator.api.errors import FormatError
from allocator.api.inventory import Inventory, Strategy
from allocator.api.quantities import CoresPolicy, Memory

LIBRARY = "/opt/vramshare/libvramshare-1-a.so"
ALLOCATION = Allocation(
    id="g1",
    node="n1",
    containers={
        "a": (Slice("GPU-1", Memory.mib(1), 10), Slice("GPU-2", Memory.mib(2))),
        "b": (Slice("GPU-1", Memory.mib(4), 5),),
    },
)


def test_line_is_what_the_interposer_reads() -> None:
    """Bytes without a unit, cores always said."""
    assert Slice("GPU-1", Memory.mib(1)).line() == "GPU-1 memory=1048576 cores=0"


def test_shown_form_has_a_unit_and_is_read_back() -> None:
    """People read the ledger."""
    one = Slice("GPU-1", Memory.mib(2048), 25)
    assert one.shown() == "GPU-1 memory=2Gi cores=25"
    assert Slice.parse(one.shown()) == one


def test_a_burst_policy_is_said_and_read_back() -> None:
    """In the line for the agent and in the ledger."""
    one = Slice("GPU-1", Memory.mib(1024), 25, CoresPolicy.BURST)
    assert one.line() == "GPU-1 memory=1073741824 cores=25 policy=burst"
    assert Slice.parse(one.line()) == Slice.parse(one.shown()) == one


def test_a_policy_of_a_later_version_is_the_strict_one() -> None:
    """Nobody gets more than a share by a word that this version does not know."""
    assert Slice.parse("GPU-1 memory=1Mi cores=5 policy=turbo").policy is CoresPolicy.HARD


@pytest.mark.parametrize(
    "line",
    ["GPU-1 cores=5 memory=1Mi", "GPU-1 memory=1048576 cores=5 tenant=x/y later=1", "  GPU-1  memory=1Mi  cores=5 "],
)
def test_order_of_keys_is_free_and_unknown_ones_are_passed_over(line: str) -> None:
    """A newer version may say more."""
    assert Slice.parse(line) == Slice("GPU-1", Memory.mib(1), 5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("GPU-1", "memory or cores cannot be read"),
        ("GPU-1 memory=x", "memory or cores cannot be read"),
        ("GPU-1 memory=-1", "memory or cores cannot be read"),
        ("GPU-1 memory=1Mi cores=x", "memory or cores cannot be read"),
        ("GPU-1 memory=1Mi cores=101", "cores lie between 0 and 100"),
        ("GPU-1 memory=1Mi cores=-1", "cores lie between 0 and 100"),
        ("GPU-1 memory=1Mi memory=2Mi", "cannot read 'memory=2Mi'"),
        ("GPU-1 memory=1Mi nonsense", "cannot read 'nonsense'"),
    ],
)
def test_line_that_cannot_be_read(line: str, message: str) -> None:
    """Never guessed, never another kind of exception: a ledger may have been edited by hand."""
    with pytest.raises(FormatError, match=message):
        Slice.parse(line)


def test_file_passes_over_comments_and_blank_lines() -> None:
    """As the interposer does."""
    slices = ALLOCATION.containers["a"]
    text = "# for a\n\n" + allocation_text(slices, tenant="g1/a")
    assert parse_allocation_text(text) == slices


def test_gpu_that_stands_twice_is_refused() -> None:
    """Which of two limits would hold?"""
    with pytest.raises(FormatError, match="twice"):
        parse_allocation_text("GPU-1 memory=1Mi\nGPU-1 memory=2Mi\n")


def test_totals_are_per_gpu_over_all_containers() -> None:
    """What the ledger must have room for."""
    assert ALLOCATION.totals() == {"GPU-1": Slice("GPU-1", Memory.mib(5), 15), "GPU-2": Slice("GPU-2", Memory.mib(2))}
    assert ALLOCATION.uuids() == ("GPU-1", "GPU-2")


@pytest.mark.parametrize("bad", ["", "A", "a/b", "-a", "a" * 64])
def test_id_is_a_dns_label(bad: str) -> None:
    """It is a ConfigMap's key."""
    with pytest.raises(ValueError, match="DNS label"):
        Allocation(id=bad, node="n", containers={})


@pytest.mark.parametrize(
    ("strategy", "visible"),
    [(Strategy.ENV, "GPU-1,GPU-2"), (Strategy.CDI, "nvidia.com/gpu=GPU-1,nvidia.com/gpu=GPU-2")],
)
def test_results_are_read_back(strategy: Strategy, visible: str) -> None:
    """What is written into a pod is the allocation, whole."""
    inventory = Inventory(node="n1", gpus=(), strategy=strategy, interposer=LIBRARY)
    got = result_annotations(ALLOCATION, inventory=inventory, preloads={"a": "/x.so"})
    assert allocation_of(got) == ALLOCATION
    assert got["visible-devices.vramshare.io/a"] == visible
    assert got["vramshare.io/devices"] == "GPU-1,GPU-2"
    assert got["preload.vramshare.io/a"] == f"{LIBRARY}:/x.so"
    assert got["preload.vramshare.io/b"] == LIBRARY


@pytest.mark.parametrize("annotations", [{}, {"vramshare.io/status": "queued"}])
def test_pod_without_an_allocation(annotations: dict[str, str]) -> None:
    """A queued pod has none yet."""
    assert allocation_of(annotations) is None


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {"vramshare.io/allocation-id": "g1"},
        {"vramshare.io/allocation-id": "G 1", "vramshare.io/node": "n"},
        {"vramshare.io/allocation-id": "g1", "vramshare.io/node": "n", "allocation.vramshare.io/a": "?"},
    ],
)
def test_annotations_that_somebody_else_wrote(annotations: dict[str, str]) -> None:
    """Incomplete or unreadable ones are told apart from none."""
    with pytest.raises(FormatError):
        allocation_of({"vramshare.io/status": "allocated", **annotations})


@pytest.mark.parametrize(
    ("existing", "wanted"),
    [
        ("", LIBRARY),
        ("/a.so", f"{LIBRARY}:/a.so"),
        ("/a.so /b.so:/c.so", f"{LIBRARY}:/a.so:/b.so:/c.so"),
        (f"{LIBRARY}:/a.so", f"{LIBRARY}:/a.so"),
        ("/opt/vramshare/libvramshare-0-b.so", LIBRARY),
    ],
)
def test_preload_has_ours_first_and_once(existing: str, wanted: str) -> None:
    """Both separators of the loader are understood; an older version of ours goes."""
    assert preload(LIBRARY, existing) == wanted
