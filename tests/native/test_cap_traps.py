"""What programs do that is easily overlooked, and once led past the share of GPU time or did harm."""

from tests.native.loads import again, launches, limits
from tests.native.programs import UNIT, python
from tests.native.support import Container, Machine, numbers

SIGNALS = """
stream = new(cu.cuStreamCreate, 1)
work = unit(1000)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
begin, used = time.monotonic(), time.process_time()
while time.monotonic() < begin + 2:
    ok(launch(work, stream))
tell("busy=%d" % (100 * (time.process_time() - used) / (time.monotonic() - begin)))
"""


def test_waiting_takes_no_processor_time_whatever_signals_come(machine: Machine):
    """A timer's signals end each sleep early; the wait for a turn goes on sleeping."""
    done = machine.attempt(python(UNIT + SIGNALS), memory="256Mi", VRAMSHARE_CORES="5")
    assert numbers(done.stdout)["busy"] < 50, done.stderr


SLOW = """
stream, work = new(cu.cuStreamCreate, 1), unit(20000)
def run(times):
    for _ in range(times):
        ok(launch(work, stream))
        ok(cu.cuStreamSynchronize(stream))
run(10)
tell()
run(40)
tell()
"""


def test_a_cap_that_comes_is_seen_between_long_units(machine: Machine, container: Container):
    """Half a second after a cap was set it holds, also for a program that launches only now and then."""
    container.limit(limits(0, tenant="1/a"))
    running = machine.start(container.wrap(python(UNIT + SLOW)), LD_PRELOAD=str(machine.native.interposer))
    assert running.report() == "done"
    container.limit(limits(60, tenant="1/a"))
    again(running)
    assert running.report() == "done"
    assert launches(container.region) > 0
    running.finish()


CAPTURE = """
stream, other, third, work = *(new(cu.cuStreamCreate, 1) for _ in range(3)), unit(20)
for _ in range(20):
    ok(launch(work, stream))
    ok(cu.cuStreamSynchronize(stream))
ok(launch(work, stream))
ok(cu.cuStreamBeginCapture_v2(stream, 2))
for each in (other, third):
    ok(launch(work, each))
    ok(cu.cuStreamDestroy_v2(each))
for _ in range(50):
    ok(launch(work, None))
ok(launch(work, stream))
graph = c.c_void_p()
tell("ended=%d" % cu.cuStreamEndCapture(stream, c.byref(graph)))
"""


def test_a_stream_that_is_captured_now_gets_no_marks(machine: Machine):
    """Work that was launched into it before may still have none; a mark now would end the capture."""
    done = machine.attempt(python(UNIT + CAPTURE), memory="256Mi", VRAMSHARE_CORES="90")
    assert numbers(done.stdout) == {"ended": 0}, done.stderr


ENDED = """
first, work = new(cu.cuCtxGetCurrent), unit(20)
stream = new(cu.cuStreamCreate, 1)
second = new(cu.cuCtxCreate_v2, 0, 0)
for _ in range(20):
    ok(cu.cuCtxSetCurrent(first))
    stream = new(cu.cuStreamCreate, 1)
    for _ in range(5):
        ok(launch(work, stream))
    ok(cu.cuCtxSetCurrent(second))
    ok(cu.cuStreamDestroy_v2(stream))
tell()
"""


def test_a_stream_may_end_beside_another_context(machine: Machine):
    """Whichever context is current then, it is never marked again."""
    done = machine.attempt(python(UNIT + ENDED), memory="256Mi", VRAMSHARE_CORES="90")
    assert done.stdout == "done\n", done.stderr


CONTEXTS = """
made = []
for _ in range(20):
    made.append((new(cu.cuCtxCreate_v2, 0, 0), unit(5000)))
    ok(launch(made[-1][1]))
    ok(cu.cuCtxSynchronize())
begin = time.monotonic()
for _ in range(50):
    ok(launch(made[-1][1]))
    ok(cu.cuCtxSynchronize())
tell("share=%d" % (50 * 0.5 / (time.monotonic() - begin)))
"""


def test_every_context_of_many_is_held(machine: Machine):
    """A process with twenty contexts has no more than its share, whichever of them it launches in."""
    done = machine.attempt(python(UNIT + CONTEXTS), memory="900Mi", VRAMSHARE_CORES="40")
    assert 0 < numbers(done.stdout)["share"] < 60, done.stderr


BESIDE = """
first = new(cu.cuCtxGetCurrent)
stream, work = new(cu.cuStreamCreate, 1), unit(2000)
begin, done = time.monotonic(), 0
while time.monotonic() < begin + 1.5:
    ok(launch(work, stream))
    done += 1
    ok(cu.cuCtxDestroy_v2(new(cu.cuCtxCreate_v2, 0, 0)))
    ok(cu.cuCtxSetCurrent(first))
ok(cu.cuStreamSynchronize(stream))
tell("share=%d" % (done * 0.2 / (time.monotonic() - begin)))
"""


def test_contexts_that_come_and_go_leave_the_others_work_counted(machine: Machine):
    """What one context has under way is not forgotten because another one ends."""
    done = machine.attempt(python(UNIT + BESIDE), memory="256Mi", VRAMSHARE_CORES="20")
    assert 0 < numbers(done.stdout)["share"] < 45, done.stderr
