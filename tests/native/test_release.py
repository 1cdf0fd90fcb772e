"""The release build: zig, for glibc 2.17, on both architectures."""

import fcntl
import platform
import re
import sys
from pathlib import Path

import pytest

from tests.native.support import BUILD, MIB, Machine, Native, numbers, tool

OUT_OF_MEMORY = 2
NEWEST_GLIBC = (2, 17)


def release(architecture: str) -> Path:
    """The library built as for a release."""
    folder = BUILD / f"release-{architecture}"
    compiler = f"{sys.executable} -m ziglang cc -target {architecture}-linux-gnu.2.17"
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tool(["make", "-s", "-C", "native", f"BUILD={folder}", f"CC={compiler}"])
    return folder / "libvramshare.so"


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_a_release_needs_glibc_2_17_at_most(native: Native, architecture: str):
    """What is released loads on the oldest systems that CUDA images are built on."""
    listing = tool(["objdump", "-T", str(release(architecture))])
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", listing)}
    assert versions
    assert max(versions) <= NEWEST_GLIBC


def test_a_release_holds_the_wall(machine: Machine):
    """The released library refuses like the one built for development."""
    library = release(platform.machine())
    for way in ("handle", "second"):
        out = machine.run(machine.command("probe", way, 512 * MIB), memory="256Mi", LD_PRELOAD=str(library))
        assert numbers(out) == {"code": OUT_OF_MEMORY, "total": 256 * MIB}
