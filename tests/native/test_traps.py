"""What programs and newer drivers do that is easily overlooked, and once led past the slice or did harm."""

import pytest

from tests.native.programs import python
from tests.native.support import CONTEXT, MIB, Machine, numbers

SLICE = 256 * MIB


def fills_its_slice(machine: Machine, argv: list[str]) -> None:
    """The program gets all of its slice but what its context takes, and ends well."""
    running = machine.start(argv, memory="256Mi")
    assert numbers(running.report())["taken"] == (SLICE - CONTEXT) // (2 * MIB) * 2 * MIB
    running.finish()


EXEC = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
if len(sys.argv) > 1:
    new(cu.cuMemAlloc_v2, c.c_size_t(100 * MIB), kind=c.c_uint64)
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2]])
tell("taken=%d" % fill())
"""


def test_a_program_that_becomes_another_starts_afresh(machine: Machine):
    """Exec ends all use of the GPU, and keeps the PID: nothing of the former program goes on counting."""
    fills_its_slice(machine, python(EXEC, "first"))


LOCAL = """
def deep():
    return kernel(".local .align 8 .b8 depot[1536];")
one = new(cu.cuCtxCreate_v2, 0, 0)
ok(launch(deep()))
if sys.argv[1] == "renewed":
    ok(cu.cuCtxDestroy_v2(one))
two = new(cu.cuCtxCreate_v2, 0, 0)
function = deep()
fill()
tell("refused=%d" % launch(function))
"""


@pytest.mark.parametrize("way", ["renewed", "second"])
def test_each_context_pays_for_its_local_memory(machine: Machine, way: str):
    """A kernel's local memory is taken anew in a context that was made after, or beside, the first one."""
    running = machine.start(python(LOCAL, way), memory="256Mi")
    assert numbers(running.report())["refused"] == 2
    assert machine.observe().used <= SLICE
    running.finish()


STACK = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
deep = kernel(".local .align 8 .b8 depot[1536];")
ok(cu.cuCtxSetLimit(0, c.c_size_t(2048)))
fill()
tell("result=%d" % launch(deep))
"""


def test_a_raised_stack_is_paid_for_once(machine: Machine):
    """A kernel that needs no more than the stack limit runs, however full the slice is."""
    running = machine.start(python(STACK), memory="256Mi")
    assert numbers(running.report())["result"] == 0
    assert machine.observe().used <= SLICE
    running.finish()


CAPTURED = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
deep, stream = kernel(".local .align 8 .b8 depot[1536];"), new(cu.cuStreamCreate, 1)
ok(cu.cuStreamBeginCapture_v2(stream, 0))
ok(launch(deep, stream))
graph = new(lambda at: cu.cuStreamEndCapture(stream, at))
exec = new(cu.cuGraphInstantiateWithFlags, graph, c.c_uint64(0))
fill()
ok(cu.cuGraphLaunch(exec, stream))
ok(cu.cuStreamSynchronize(stream))
tell()
"""


def test_local_memory_of_a_captured_kernel_is_kept_free(machine: Machine):
    """The driver takes it when the graph runs: until then nobody else has it."""
    running = machine.start(python(CAPTURED), memory="256Mi")
    assert running.report() == "done"
    assert machine.observe().used <= SLICE
    running.finish()


UPLOADED = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
stream, graph = new(cu.cuStreamCreate, 1), new(cu.cuGraphCreate, 0)
alloc = (c.c_uint64 * 16)(1, 1, *[0] * 11, int(sys.argv[1]) * MIB)
ok(cu.cuGraphAddMemAllocNode(c.byref(c.c_void_p()), graph, None, c.c_size_t(0), c.byref(alloc)))
parameters = (c.c_uint64 * 4)(2, stream.value)
result = cu.cuGraphInstantiateWithParams(c.byref(c.c_void_p()), graph, c.byref(parameters))
fill()
tell("result=%d" % result)
"""


@pytest.mark.parametrize(("size", "result"), [(64, 0), (512, 2)])
def test_a_graph_uploaded_as_it_is_made_counts(machine: Machine, size: int, result: int):
    """Where its flags ask for that, cuGraphInstantiateWithParams takes the memory at once."""
    running = machine.start(python(UPLOADED, size), memory="256Mi")
    assert numbers(running.report())["result"] == result
    assert machine.observe().used <= SLICE
    running.finish()


PROMISE = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
ok(cu.cuCtxSetLimit(2, c.c_size_t(72 * MIB)))
if sys.argv[1] == "context":
    ok(cu.cuCtxDestroy_v2(new(cu.cuCtxCreate_v2, 0, 0)))
    ok(cu.cuCtxSetCurrent(context))
else:
    for _ in range(8):
        library, at, size = c.c_void_p(), c.c_uint64(), c.c_size_t()
        code = ".version 7.0\\n.target sm_75\\n.address_size 64\\n.visible .global .b8 big[16777216];\\n"
        ok(cu.cuLibraryLoadData(c.byref(library), code.encode(), None, None, 0, None, None, 0))
        ok(cu.cuLibraryGetGlobal(c.byref(at), c.byref(size), library, b"big"))
        ok(cu.cuLibraryUnload(library))
fill()
launch(kernel("call.uni (result), malloc, (size);", ".extern .func (.param .b64 result) malloc (.param .b64 size);\\n"))
ok(cu.cuCtxSynchronize())
tell()
"""


@pytest.mark.parametrize("way", ["context", "library"])
def test_a_raised_heap_stays_paid_for(machine: Machine, way: str):
    """What was promised to one context is not given back because another context, or code that was loaded, goes."""
    running = machine.start(python(PROMISE, way), memory="256Mi")
    assert running.report() == "done"
    assert machine.observe().used <= SLICE
    running.finish()


DOMAIN = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
way, piece, stream = sys.argv[1], 2 * MIB, new(cu.cuStreamCreate, 1)
if way == "create":
    take = lambda: cu.cuMemCreate(c.byref(c.c_uint64()), c.c_size_t(piece), c.byref(Properties(1, 0, 6, 0x100)), 0)
else:
    properties = {"pool": (1, 0, 6, 0x100), "managed": (2, 0, 0, 0), "host-managed": (2, 0, 2, 0)}[way]
    pool = new(cu.cuMemPoolCreate, c.byref(Properties(*properties)))
    take = lambda: cu.cuMemAllocFromPoolAsync(c.byref(c.c_uint64()), c.c_size_t(piece), pool, stream)
for _ in range(400):
    result = take()
    if result:
        break
tell("result=%d" % result)
"""


@pytest.mark.parametrize("way", ["create", "pool", "managed", "host-managed"])
def test_new_names_for_device_memory_count(machine: Machine, way: str):
    """Parts of a device (locality domains) and pools of managed memory, both new in CUDA 13, are in the slice."""
    running = machine.start(python(DOMAIN, way), memory="256Mi")
    assert numbers(running.report())["result"] == 2
    assert SLICE - 34 * MIB <= machine.observe().used <= SLICE
    running.finish()


HOST_POOL = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
pool = new(cu.cuMemGetDefaultMemPool, c.byref((c.c_int * 2)(2, 0)), 1)
stream = new(cu.cuStreamCreate, 1)
for _ in range(20):
    new(cu.cuMemAllocFromPoolAsync, c.c_size_t(32 * MIB), pool, stream, kind=c.c_uint64)
tell("taken=%d" % fill())
"""


def test_the_pool_of_host_memory_does_not_count(machine: Machine):
    """CUDA 13 has a pool for pinned host memory; it takes nothing of the slice."""
    fills_its_slice(machine, python(HOST_POOL))


NODE = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
ok(cu.cuCtxSetCurrent(context))
class Node(c.Structure):
    _fields_ = [("type", c.c_int), ("reserved", c.c_int * 3), ("pool", c.c_int * 4), ("rest", c.c_byte * 72),
                ("access", c.c_void_p), ("count", c.c_size_t), ("size", c.c_size_t), ("at", c.c_uint64),
                ("more", c.c_byte * 256)]
graph = new(cu.cuGraphCreate, 0)
stream = new(cu.cuStreamCreate, 1)
node = Node(type=10, pool=(c.c_int * 4)(1, 0, 1, 0), size=512 * MIB)
new(cu.cuGraphAddNode_v3, graph, None, None, c.c_size_t(0), c.byref(node))
exec = new(cu.cuGraphInstantiateWithFlags, graph, c.c_uint64(0))
tell("result=%d" % cu.cuGraphLaunch(exec, stream))
"""


def test_the_newest_way_to_add_a_node_counts(machine: Machine):
    """A graph's allocation that was added by cuGraphAddNode_v3 (13.4) is refused at the wall."""
    running = machine.start(python(NODE), memory="256Mi")
    assert numbers(running.report())["result"] == 2
    assert machine.observe().used <= SLICE
    running.finish()


# --- No harm ------------------------------------------------------------------------------------------------

RETAIN = """
failed = []
def use():
    for _ in range(300):
        start.wait()
        made = c.c_void_p()
        failed.append(cu.cuDevicePrimaryCtxRetain(c.byref(made), 0))
        start.wait()
        cu.cuDevicePrimaryCtxRelease_v2(0)
start = threading.Barrier(4)
threads = [threading.Thread(target=use) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
tell("failed=%d" % sum(result != 0 for result in failed))
"""


def test_threads_that_start_at_once_need_one_context(machine: Machine):
    """A slice with room for one context is enough for threads that retain it in the same moment."""
    running = machine.start(python(RETAIN), memory="60Mi")
    assert numbers(running.report()) == {"failed": 0}
    running.finish()


POOLS = """
context = new(cu.cuDevicePrimaryCtxRetain, 0)
def churn():
    ok(cu.cuCtxSetCurrent(context))
    stream = new(cu.cuStreamCreate, 1)
    for _ in range(300):
        pool = new(cu.cuMemPoolCreate, c.byref(Properties(1, 0, 1, 0)))
        at = c.c_uint64()
        ok(cu.cuMemAllocFromPoolAsync(c.byref(at), c.c_size_t(MIB), pool, stream))
        ok(cu.cuMemFreeAsync(at, stream))
        ok(cu.cuMemPoolDestroy(pool))
def look():
    ok(cu.cuCtxSetCurrent(context))
    while not done:
        ok(cu.cuMemGetInfo_v2(c.byref(c.c_size_t()), c.byref(c.c_size_t())))
done = []
looking = [threading.Thread(target=look) for _ in range(3)]
[thread.start() for thread in looking]
churn()
done.append(1)
[thread.join() for thread in looking]
ok(cu.cuCtxSetCurrent(context))
tell("taken=%d" % fill())
"""


def test_pools_may_end_while_others_look(machine: Machine):
    """Nobody asks about a pool that is gone, and nothing of it stays charged."""
    fills_its_slice(machine, python(POOLS))


CLOSED = """
nv = c.CDLL("libnvidia-ml.so.1")
ok(nv.nvmlInit_v2())
gpu = c.c_void_p()
ok(nv.nvmlDeviceGetHandleByIndex_v2(0, c.byref(gpu)))
def look():
    ok(nv.nvmlDeviceGetMemoryInfo(gpu, c.byref((c.c_uint64 * 3)())))
def files():
    return [int(one) for one in os.listdir("/proc/self/fd")]
def is_region(file):
    try:
        return os.readlink("/proc/self/fd/%d" % file) == os.environ["VRAMSHARE_REGION"]
    except OSError:
        return False
look()
[os.dup2(0, file) for file in files() if is_region(file)]
look()
before = len(files())
for _ in range(50):
    look()
tell("more=%d" % (len(files()) - before))
"""


def test_a_closed_descriptor_is_replaced_once(machine: Machine):
    """Who closes what it does not know, and uses the numbers again, does not run out of them by asking NVML."""
    done = machine.attempt(python(CLOSED), memory="256Mi")
    assert numbers(done.stdout) == {"more": 0}, done.stderr
