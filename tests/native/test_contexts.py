"""Every hook is found in every way in which programs look up the driver."""

import pytest

from tests.native.support import MIB, Machine, numbers

SLICE = 256 * MIB
TOO_MUCH = 512 * MIB
OUT_OF_MEMORY = 2


def owners(text: str) -> dict[str, str]:
    """Which library each symbol came from; symbols that the driver lacks are left out."""
    pairs = dict(line.split() for line in text.splitlines())
    return {symbol: library for symbol, library in pairs.items() if library != "-"}


@pytest.mark.parametrize("way", ["handle", "default", "first", "second", "recursive"])
def test_every_hook_is_found(machine: Machine, way: str):
    """Lookups by dlsym and cuGetProcAddress, also when found by itself, answer with our function."""
    plain = owners(machine.run(machine.command("resolve", way)))
    hooked = owners(machine.run(machine.command("resolve", way), memory="256Mi"))
    assert len(plain) > 80
    assert set(hooked) >= set(plain)
    assert {symbol for symbol in plain if hooked[symbol] != "libvramshare.so"} == set()


def test_every_hook_is_bound_at_load(machine: Machine):
    """A program linked with the driver is bound to our functions."""
    command = machine.command("resolve_linked")
    plain = owners(machine.run(command))
    hooked = owners(machine.run(command, memory="256Mi"))
    assert len(plain) > 80
    assert {symbol for symbol in plain if hooked[symbol] != "libvramshare.so"} == set()


def test_lookups_without_limits_change_nothing(machine: Machine):
    """Names that we do not hook get the same answers from cuGetProcAddress."""
    program = (
        "import ctypes as c\n"
        "cu = c.CDLL('libcuda.so.1')\n"
        "f, s = c.c_void_p(), c.c_int(-1)\n"
        "for name, version in ((b'', 0), (b'cuNoSuch', 12000), (b'cuMemAllocAsync', 11010),\n"
        "                      (b'cuInit', 2000), (b'cuMemAlloc', 14000)):\n"
        "    r = cu.cuGetProcAddress_v2(name, c.byref(f), version, c.c_uint64(0), c.byref(s))\n"
        "    print(name, r, bool(f.value), s.value)\n"
    )
    command = ["python3", "-c", program]
    assert machine.run(command, memory="256Mi") == machine.run(command)


WAYS = ["handle", "default", "next", "first", "second", "recursive", "deepbind"]


@pytest.mark.parametrize("way", WAYS)
def test_the_wall_stands_however_it_was_reached(machine: Machine, way: str):
    """A request past the slice is refused, and the slice is shown, in each way of lookup."""
    out = machine.run(machine.command("probe", way, TOO_MUCH), memory="256Mi")
    assert numbers(out) == {"code": OUT_OF_MEMORY, "total": SLICE}


def test_a_second_namespace_is_the_documented_gap(machine: Machine):
    """The loader preloads nothing into a dlmopen namespace: the program works there, uncapped, as documented."""
    command = machine.command("probe", "namespace", TOO_MUCH)
    assert machine.run(command, memory="256Mi") == machine.run(command)


def test_the_wall_stands_before_main(machine: Machine):
    """A constructor that runs before main meets the wall."""
    out = machine.run(machine.command("probe"), memory="256Mi", PROBE_BYTES=str(TOO_MUCH))
    assert numbers(out) == {"code": OUT_OF_MEMORY, "total": SLICE}


def test_the_wall_stands_for_linked_programs(machine: Machine):
    """A program linked with the driver meets the wall."""
    out = machine.run(machine.command("probe_linked", TOO_MUCH), memory="256Mi")
    assert numbers(out) == {"code": OUT_OF_MEMORY, "total": SLICE}


@pytest.mark.parametrize(
    ("wrapper", "ours_first", "ways"),
    [
        ("libwrap_alloc.so", False, ["handle", "default"]),
        ("libwrap_alloc.so", True, ["handle", "default"]),
        ("libwrap_dlsym.so", True, ["handle", "default"]),
        ("libwrap_dlsym.so", False, ["handle", "default"]),
    ],
)
def test_other_wrappers_work_beside_us(machine: Machine, wrapper: str, ways: list[str], *, ours_first: bool):
    """Another preloaded library that wraps dlsym or cuMemAlloc neither loops nor opens the wall."""
    names = [str(machine.native.interposer), str(machine.native.programs / wrapper)]
    preload = " ".join(names if ours_first else reversed(names))
    for way in ways:
        done = machine.attempt(machine.command("probe", way, TOO_MUCH), memory="256Mi", LD_PRELOAD=preload)
        assert done.returncode == 0, done.stderr
        assert numbers(done.stdout) == {"code": OUT_OF_MEMORY, "total": SLICE}


def test_a_wrapper_of_dlsym_is_asked(machine: Machine):
    """A wrapper that stands behind us still sees the lookups that are not ours."""
    names = f"{machine.native.interposer} {machine.native.programs / 'libwrap_dlsym.so'}"
    done = machine.attempt(machine.command("probe", "handle", MIB), memory="256Mi", LD_PRELOAD=names)
    assert "dlsym was wrapped" in done.stderr
