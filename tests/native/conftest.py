"""What the native tests share: the built libraries and machines with simulated GPUs."""

import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.support import BUILD, OTHER_UUID, SMALL_GPU, UUID, Container, Machine, Native, describe, tool


@pytest.fixture(scope="session")
def native() -> Native:
    """The interposer, the simulated driver and the test programs, built once for all workers."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in ("native", "native/tests"):
            tool(["make", "-s", "-C", folder])
    return Native(BUILD / "libvramshare.so", BUILD / "fakegpu", BUILD / "tests")


@pytest.fixture
def machine(native: Native, tmp_path: Path) -> Iterator[Machine]:
    """A machine with one GPU: 1 GiB, 64 MiB of it reserved; a context takes 38 MiB."""
    describe(tmp_path, {UUID: SMALL_GPU})
    made = Machine(native, tmp_path)
    yield made
    assert made.observe().used == 0, "a test left memory behind on the device"


@pytest.fixture
def pair(native: Native, tmp_path: Path) -> Machine:
    """A machine with two GPUs, 1 GiB each."""
    describe(tmp_path, {UUID: SMALL_GPU, OTHER_UUID: SMALL_GPU | {"model": "NVIDIA L40S"}})
    return Machine(native, tmp_path)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """A container's view of the file system, still without limits."""
    return Container(tmp_path)


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter of the tests, which has pynvml."""
    return sys.executable
