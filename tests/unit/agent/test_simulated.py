"""GPUs out of a description file."""

from pathlib import Path

import pytest

from allocator.agent.gpus import AbsentGpus, GpuError
from allocator.agent.simulated import DRIVER, SimulatedGpus, parse_description
from allocator.api.quantities import GIB, MIB

GOOD = """
[GPU-1]
model = Tesla T4
memory = 16Gi
reserve = 450Mi
pci = 0000:01:00.0

[GPU-0]
model = NVIDIA L40S
memory = 51539607552
"""


def test_gpus_come_in_the_files_order_with_its_sizes() -> None:
    """Sections become GPUs; sizes may be bytes or have a suffix; unknown settings are the fake driver's."""
    first, second = parse_description(GOOD, where="gpus.ini")
    assert (first.uuid, first.index, first.model) == ("GPU-1", 0, "Tesla T4")
    assert (first.memory.count, first.reserve.count) == (16 * GIB, 450 * MIB)
    assert (second.uuid, second.index, second.memory.count) == ("GPU-0", 1, 48 * GIB)
    assert first.healthy


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model = x", "not an INI file"),
        ("[GPU-0]\nmemory = 1Gi", "section [GPU-0]: no model; write"),
        ("[GPU-0]\nmodel = T4", "memory is ''"),
        ("[GPU-0]\nmodel = T4\nmemory = 16gb", "memory is '16gb'"),
        ("[GPU-0]\nmodel = T4\nmemory = 1Gi\nreserve = -1", "reserve is '-1'"),
        ("[Tesla]\nmodel = T4\nmemory = 1Gi", "section [Tesla]: not a GPU's UUID; write"),
        ("[GPU-0]\nmodel=T4\nmemory=1Gi\n[GPU-0]\nmodel=T4\nmemory=1Gi", "not an INI file"),
    ],
)
def test_a_bad_description_names_section_and_value(text: str, part: str) -> None:
    """Each mistake is an error that says where it is."""
    with pytest.raises(GpuError, match=r"gpus\.ini") as raised:
        parse_description(text, where="gpus.ini")
    assert part in str(raised.value)


def test_the_file_is_read_at_each_turn(tmp_path: Path) -> None:
    """No file is no driver; a file that appears is a driver that appears; an edit is seen."""
    file = tmp_path / "gpus.ini"
    source = SimulatedGpus(file)
    assert source.read() is None
    file.write_text(GOOD)
    reading = source.read()
    assert reading is not None
    assert reading.driver == DRIVER
    assert len(reading.gpus) == 2
    file.write_text("")
    reading = source.read()
    assert reading is not None
    assert reading.gpus == ()


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A folder in the file's place is told, not taken for an absent driver."""
    with pytest.raises(GpuError, match="cannot be read"):
        SimulatedGpus(tmp_path).read()


def test_an_absent_driver_reads_as_nothing() -> None:
    """The third implementation of the protocol."""
    assert AbsentGpus().read() is None
