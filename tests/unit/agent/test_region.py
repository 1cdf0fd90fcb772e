"""Reading a region that its tenant may have written."""

import contextlib
import os
import re
import shlex
import struct
import subprocess
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent import region
from allocator.agent.region import parse
from allocator.api.errors import FormatError

UUIDS = (uuid.UUID(int=0x1122334455667788_99AABBCCDDEEFF00), uuid.UUID(int=0xF000000000000000_0000000000000001))
GPU_STRIDE, GPU_COUNT, SLOT_STRIDE, SLOT_COUNT, USE_AT, USE_STRIDE, SLOTS_AT = 192, 16, 1408, 8, 128, 80, 4096


def made(**changed: int) -> bytearray:
    """A region of two GPUs and three counting slots as native/include/region.h lays it out."""
    size = SLOTS_AT + SLOT_COUNT * SLOT_STRIDE
    header = {
        "magic": region.MAGIC,
        "version": 1,
        "header_size": SLOTS_AT,
        "gpu_offset": 256,
        "gpu_stride": GPU_STRIDE,
        "gpu_count": GPU_COUNT,
        "slot_offset": SLOTS_AT,
        "slot_stride": SLOT_STRIDE,
        "slot_count": SLOT_COUNT,
        "slot_gpu_offset": USE_AT,
        "slot_gpu_stride": USE_STRIDE,
        "file_size": size,
        "created": 1,
        "slots_high": 5,
        "pad": 0,
    } | changed
    raw = bytearray(size)
    struct.pack_into("<QIIIIIIIIIIQQII", raw, 0, *header.values())
    for index, one in enumerate(UUIDS):
        # limit, context_cost, refused, refused_bytes, peak, cores
        struct.pack_into("<16s6Q", raw, 256 + index * GPU_STRIDE, one.bytes, 1000 + index, 7, 3 + index, 5, 900, 25)
        # time: used, waited, debt, window, unit, wanted, active
        struct.pack_into("<QQqQQQQ", raw, 256 + index * GPU_STRIDE + 64, 500, 600, -7, 0, 80, 0, 10**9 + index)
    for slot, (owner, ready) in {0: (9, 9), 1: (8, 8), 2: (0, 0), 3: (7, 0), 4: (6, 6), 5: (5, 5)}.items():
        base = SLOTS_AT + slot * SLOT_STRIDE
        struct.pack_into("<QQQQII", raw, base, owner, ready, 1, 1, 100 + slot, 0)
        struct.pack_into("16s16s", raw, base + 48, b"python3", b"0.1.0")
        for index in range(2):
            struct.pack_into("<3Q", raw, base + USE_AT + index * USE_STRIDE, 100 * (index + 1), 10, 1)
    return raw


def read(raw: bytes | bytearray, *, size: int | None = None) -> region.Region:
    """Parse bytes as if they were a file."""
    return parse(lambda count, offset: bytes(raw[offset : offset + count]), size=len(raw) if size is None else size)


def test_gpu_time_is_read() -> None:
    """Used, waited, owed or saved up, the longest unit and the latest launch."""
    one = read(made()).gpus[0]
    assert (one.time_used, one.time_waited, one.time_debt, one.longest_unit, one.active) == (500, 600, -7, 80, 10**9)


def test_activity_alone_is_read_without_the_slots() -> None:
    """The quick look sees what the thorough one sees."""
    raw = made()
    wanted: list[tuple[int, int]] = []

    def read_at(count: int, offset: int) -> bytes:
        wanted.append((count, offset))
        return bytes(raw[offset : offset + count])

    assert region.parse_activity(read_at, size=len(raw)) == {one.uuid: one.active for one in read(raw).gpus}
    assert all(offset + count <= SLOTS_AT for count, offset in wanted)


def test_sums_the_slots_that_count() -> None:
    """Free slots, slots being taken, and slots above the mark are left out."""
    found = read(made())
    first, second = found.gpus
    assert first.uuid == f"GPU-{UUIDS[0]}"
    assert (first.used, first.overhead, first.pending, first.total) == (300, 30, 3, 330)
    assert (first.limit, first.refused, first.peak) == (1000, 3, 900)
    assert (second.uuid, second.used, second.limit, second.refused) == (f"GPU-{UUIDS[1]}", 600, 1001, 4)
    assert [(one.pid, one.command, one.version) for one in found.processes] == [
        (pid, "python3", "0.1.0") for pid in (100, 101, 104)
    ]


def test_a_later_layout_with_longer_entries_is_read() -> None:
    """Offsets and strides come from the header, so a newer interposer can add fields."""
    raw = made(gpu_stride=256, gpu_count=2)
    struct.pack_into("<16sQ", raw, 256 + 256, UUIDS[1].bytes, 77)
    assert [one.limit for one in read(raw).gpus] == [1000, 77]


@pytest.mark.parametrize(
    "changed",
    [
        {"magic": 0},
        {"version": 2},
        {"gpu_count": 0},
        {"gpu_count": 65},
        {"gpu_count": 2**32 - 1},
        {"gpu_stride": 8},
        {"gpu_stride": 2**32 - 1},
        {"gpu_offset": 2**32 - 1},
        {"slot_count": 4097},
        {"slot_count": 2**32 - 1},
        {"slot_stride": 0},
        {"slot_stride": 2**31},
        {"slot_offset": 2**32 - 1},
        {"slot_gpu_offset": 0},
        {"slot_gpu_offset": 2**32 - 1},
        {"slot_gpu_stride": 0},
        {"slot_gpu_stride": 2**32 - 1},
    ],
)
def test_numbers_that_do_not_fit_are_refused(changed: dict[str, int]) -> None:
    """Every number of the header has bounds."""
    with pytest.raises(FormatError, match="region: "):
        read(made(**changed))


@pytest.mark.parametrize("length", [0, 1, 79, 80, 300, 4096, 9000])
def test_a_cut_off_region_is_refused(length: int) -> None:
    """Whether the file is short from the start or shrinks while it is read."""
    raw = made()[:length]
    for size in (length, len(made())):
        with pytest.raises(FormatError, match="region: "):
            read(raw, size=size)


def test_a_huge_sparse_file_is_read_within_bounds() -> None:
    """The reader asks for what the tables need, never for the file's size."""
    raw = bytes(made())
    asked = []

    def read_at(count: int, offset: int) -> bytes:
        asked.append(count)
        return raw[offset : offset + count].ljust(count, b"\0")

    parse(read_at, size=2**50)
    assert sum(asked) <= len(raw)


def test_a_slot_mark_beyond_the_table_reads_no_further() -> None:
    """`slots_high` is the tenant's word too."""
    assert len(read(made(slots_high=2**32 - 1)).processes) == 4


def test_names_cannot_steer_the_terminal() -> None:
    """A program's name is the tenant's choice; escape sequences are made harmless."""
    raw = made()
    struct.pack_into("16s", raw, SLOTS_AT + 48, b"\x1b[2J\xffx\n")
    assert read(raw).processes[0].command == "?[2J?x?"


@given(st.binary(max_size=6000))
def test_any_bytes_are_a_region_or_a_format_error(raw: bytes) -> None:
    """Nothing else comes out."""
    with contextlib.suppress(FormatError):
        read(raw)


@given(st.lists(st.tuples(st.integers(8, 80), st.integers(0, 255)), max_size=12))
def test_any_change_of_the_header_is_harmless(changes: list[tuple[int, int]]) -> None:
    """Behind the right magic every byte may be anything."""
    raw = made()
    for at, value in changes:
        raw[at] = value
    with contextlib.suppress(FormatError):
        read(raw)


@pytest.fixture
def folder(tmp_path: Path) -> int:
    """A container's folder, open."""
    return os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)


def test_reads_the_file_in_the_folder(tmp_path: Path, folder: int) -> None:
    """The plain case."""
    (tmp_path / "region").write_bytes(made())
    assert len(region.read_file("region", folder=folder).gpus) == 2


def test_a_link_is_not_followed(tmp_path: Path, folder: int) -> None:
    """Else a tenant could have any file of the host read."""
    (tmp_path / "elsewhere").write_bytes(made())
    (tmp_path / "region").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="cannot be opened"):
        region.read_file("region", folder=folder)


def test_a_fifo_does_not_hold_the_agent(tmp_path: Path, folder: int) -> None:
    """Opening one to read waits for a writer, unless told not to."""
    os.mkfifo(tmp_path / "region")
    with pytest.raises(FormatError, match="not a regular file"):
        region.read_file("region", folder=folder)


def test_a_folder_in_its_place_is_refused(tmp_path: Path, folder: int) -> None:
    """As any other kind of file."""
    (tmp_path / "region").mkdir()
    with pytest.raises(FormatError, match="not a regular file"):
        region.read_file("region", folder=folder)


def test_no_region_is_no_error_of_format(folder: int) -> None:
    """The container has not touched its GPU yet."""
    with pytest.raises(FileNotFoundError):
        region.read_file("region", folder=folder)


def test_reads_what_a_c_compiler_makes_of_the_layout(tmp_path: Path) -> None:
    """The offsets here are those of native/include/region.h, field by field."""
    program = tmp_path / "layout.c"
    program.write_text(LAYOUT)
    native = Path(__file__).parents[3] / "native" / "include"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    built = tmp_path / "layout"
    subprocess.run([*compiler, "-std=c11", "-I", native, "-o", built, program], check=True)  # noqa: S603 - our own
    raw = subprocess.run([built], check=True, capture_output=True).stdout  # noqa: S603 - our own
    found = read(raw)
    assert found.processes == (region.Process(pid=42, command="trainer", version="9.9"),)
    assert found.gpus == (
        region.GpuUse(
            uuid="GPU-00010203-0405-0607-0809-0a0b0c0d0e0f",
            used=1,
            overhead=2,
            pending=3,
            peak=4,
            limit=5,
            refused=6,
        ),
    )


LAYOUT = r"""
#include <stdio.h>
#include <string.h>
#include "region.h"

static _Alignas(64) unsigned char image[VS_REGION_FILE_SIZE];

int main(void) {
    struct vs_region_header *header = (void *)image;
    header->magic = VS_REGION_MAGIC;
    header->version = VS_REGION_VERSION;
    header->header_size = VS_REGION_HEADER_SIZE;
    header->gpu_offset = VS_REGION_GPU_OFFSET;
    header->gpu_stride = sizeof(struct vs_region_gpu);
    header->gpu_count = VS_REGION_GPUS;
    header->slot_offset = VS_REGION_HEADER_SIZE;
    header->slot_stride = sizeof(struct vs_region_slot);
    header->slot_count = VS_REGION_SLOTS;
    header->slot_gpu_offset = VS_REGION_SLOT_GPU_OFFSET;
    header->slot_gpu_stride = sizeof(struct vs_region_use);
    header->file_size = VS_REGION_FILE_SIZE;
    header->slots_high = 1;
    struct vs_region_gpu *gpu = (void *)(image + VS_REGION_GPU_OFFSET);
    for (unsigned char i = 0; i < 16; i++) ((unsigned char *)gpu)[i] = i;
    gpu->limit = 5;
    gpu->refused = 6;
    gpu->peak = 4;
    struct vs_region_slot *slot = (void *)(image + VS_REGION_HEADER_SIZE);
    slot->owner = slot->ready = 77;
    slot->pid = 42;
    strcpy(slot->command, "trainer");
    strcpy(slot->version, "9.9");
    slot->gpu[0].used = 1;
    slot->gpu[0].overhead = 2;
    slot->gpu[0].pending = 3;
    return fwrite(image, sizeof image, 1, stdout) != 1;
}
"""


@pytest.mark.parametrize(("name", "bound"), [("GPUS", region.MOST_GPUS), ("SLOTS", region.MOST_SLOTS)])
def test_no_more_is_read_than_the_layout_has(name: str, bound: int) -> None:
    """Each entry costs the agent memory and time, and how many there are is the tenant's word."""
    header = Path(__file__).parents[3] / "native/include/region.h"
    assert re.findall(rf"#define VS_REGION_{name} (\d+)u", header.read_text()) == [str(bound)]


@pytest.mark.parametrize(
    "claim",
    [
        {"slot_count": region.MOST_SLOTS + 1},
        {"gpu_count": region.MOST_GPUS + 1, "slot_stride": 2048, "slot_offset": 8192},
    ],
)
def test_a_region_that_claims_more_is_refused(claim: dict[str, int]) -> None:
    """Though the file is large enough for it."""
    raw = bytes(made(**claim)) + bytes(3 << 20)
    with pytest.raises(FormatError, match="do not fit"):
        region.parse(lambda size, offset: raw[offset : offset + size], size=len(raw))
