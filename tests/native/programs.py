"""Small programs that speak to the driver through ctypes, for the native tests."""

PRELUDE = """
import ctypes as c, os, signal, sys, threading, time
cu = c.CDLL("libcuda.so.1")
MIB = 1 << 20
def ok(result):
    assert result == 0, result
def new(call, *more, kind=c.c_void_p):
    made = kind()
    ok(call(c.byref(made), *more))
    return made
def fill(piece=2 * MIB):
    "Takes what there is and says how much that was."
    taken = 0
    while cu.cuMemAlloc_v2(c.byref(c.c_uint64()), c.c_size_t(piece)) == 0:
        taken += piece
    return taken
def kernel(body="", before="", name="work"):
    code = ".version 7.0\\n.target sm_75\\n.address_size 64\\n" + before
    code += ".visible .entry %s()\\n{\\n%s\\n ret;\\n}\\n" % (name, body)
    return new(cu.cuModuleGetFunction, new(cu.cuModuleLoadData, code.encode()), name.encode())
def launch(function, stream=None):
    return cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, None, None)
def tell(text="done"):
    print(text, flush=True)
    sys.stdin.readline()
class Properties(c.Structure):
    _fields_ = [("type", c.c_int), ("handles", c.c_int), ("place", c.c_int), ("id", c.c_int), ("rest", c.c_byte * 128)]
ok(cu.cuInit(0))
"""
UNIT = """
ok(cu.cuCtxSetCurrent(new(cu.cuDevicePrimaryCtxRetain, 0)))
def unit(microseconds):
    code = ".version 7.0\\n.target sm_75\\n.address_size 64\\n// fakegpu: ns=%d\\n.visible .entry unit()\\n{ ret; }\\n"
    return new(cu.cuModuleGetFunction, new(cu.cuModuleLoadData, (code % (microseconds * 1000)).encode()), b"unit")
"""


def python(body: str, *arguments: object) -> list[str]:
    """The command that runs a program with the prelude."""
    return ["python3", "-c", PRELUDE + body, *map(str, arguments)]
