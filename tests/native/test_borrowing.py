"""Memory that goes from one process of a container to another by file descriptor."""

from tests.native.programs import python
from tests.native.support import CONTEXT, MIB, Machine, numbers

LENDER = """
import ctypes as c, os, subprocess, sys
class Location(c.Structure):
    _fields_ = [("type", c.c_int), ("id", c.c_int)]
class Properties(c.Structure):
    _fields_ = [("type", c.c_int), ("handles", c.c_int), ("location", Location), ("os", c.c_void_p),
                ("more", c.c_ubyte * 8)]
cu, size, context, none = c.CDLL("libcuda.so.1"), c.c_size_t(100 << 20), c.c_void_p(), c.c_ulonglong(0)
def used():
    free, total = c.c_size_t(), c.c_size_t()
    assert cu.cuMemGetInfo_v2(c.byref(free), c.byref(total)) == 0
    return total.value - free.value >> 20
assert cu.cuInit(0) == 0 and cu.cuDevicePrimaryCtxRetain(c.byref(context), 0) == 0
assert cu.cuCtxSetCurrent(context) == 0
handle, address = c.c_ulonglong(), c.c_ulonglong()
if len(sys.argv) == 2:
    about, file = Properties(1, 1, Location(1, 0)), c.c_int()
    assert cu.cuMemCreate(c.byref(handle), size, c.byref(about), none) == 0
    assert cu.cuMemExportToShareableHandle(c.byref(file), handle, 1, none) == 0
    borrower = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[1], str(file.value)],
                                pass_fds=[file.value], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert borrower.stderr.readline() == "mapped\\n"
    os._exit(0)
assert cu.cuMemImportFromShareableHandle(c.byref(handle), c.c_void_p(int(sys.argv[2])), 1) == 0
assert cu.cuMemAddressReserve(c.byref(address), size, none, none, none) == 0
assert cu.cuMemMap(address, size, c.c_size_t(0), handle, none) == 0
both = used()
os.write(2, b"mapped\\n")
sys.stdin.read()  # ends as the lender does, a moment before it is gone
while (alone := used()) == both:
    os.sched_yield()
assert cu.cuMemUnmap(address, size) == 0 and cu.cuMemRelease(handle) == 0
print(f"both={both} alone={alone} after={used()}")
"""


def test_a_borrower_takes_over_what_a_dead_process_lent(machine: Machine):
    """Charged once while both live; to the borrower when the lender is gone; to nobody when it is released."""
    shown = numbers(machine.run(["python3", "-c", LENDER, LENDER], memory="512Mi"))
    context = shown["after"]
    assert CONTEXT <= context * MIB < 2 * CONTEXT
    assert shown == {"both": 2 * context + 100, "alone": context + 100, "after": context}


GIVEN_UP = """
import subprocess
ok(cu.cuCtxSetCurrent(new(cu.cuDevicePrimaryCtxRetain, 0)))
size, none = c.c_size_t(100 * MIB), c.c_ulonglong(0)
def used():
    free, total = c.c_size_t(), c.c_size_t()
    ok(cu.cuMemGetInfo_v2(c.byref(free), c.byref(total)))
    return total.value - free.value >> 20
if len(sys.argv) == 1:
    handle = new(cu.cuMemCreate, size, c.byref(Properties(1, 1, 1, 0)), none, kind=c.c_ulonglong)
    file = new(cu.cuMemExportToShareableHandle, handle, 1, none, kind=c.c_int)
    borrower = subprocess.Popen([sys.executable, "-c", sys.orig_argv[2], str(file.value)], pass_fds=[file.value],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert borrower.stdout.readline() == "mapped\\n"
    both = used()
    ok(cu.cuMemRelease(handle))
    print("both=%d " % both + borrower.communicate("\\n")[0])
else:
    handle = new(cu.cuMemImportFromShareableHandle, c.c_void_p(int(sys.argv[1])), 1, kind=c.c_ulonglong)
    address = new(cu.cuMemAddressReserve, size, none, none, none, kind=c.c_ulonglong)
    ok(cu.cuMemMap(address, size, c.c_size_t(0), handle, none))
    tell("mapped")
    kept = used()
    ok(cu.cuMemUnmap(address, size))
    ok(cu.cuMemRelease(handle))
    print("kept=%d after=%d" % (kept, used()))
"""


def test_a_borrower_takes_over_what_its_lender_gave_up(machine: Machine):
    """Memory that only the borrower holds is charged to it, although the lender lives on."""
    shown = numbers(machine.run(python(GIVEN_UP), memory="512Mi"))
    contexts = shown["after"]
    assert 2 * CONTEXT <= contexts * MIB < 3 * CONTEXT
    assert shown == {"both": contexts + 100, "kept": contexts + 100, "after": contexts}
