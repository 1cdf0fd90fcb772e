"""A deadline around what may hang."""

import asyncio
import threading
import time

import pytest

from allocator.agent.gpus import GpuError, Reading
from allocator.agent.patience import Bounded, Patient, in_daemon_thread


class Stuck:
    """A source that hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0

    def read(self) -> Reading | None:
        """Hang."""
        self.calls += 1
        self.go.wait()
        return Reading(driver="570")


class Failing:
    """A source that raises."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    def read(self) -> Reading | None:
        """Raise."""
        raise self.problem


async def test_a_hung_reading_is_told_and_not_started_twice() -> None:
    """While one call hangs no second one starts, and its answer is taken once it comes."""
    source = Stuck()
    patient = Patient(source.read, patience=0.0)
    for _ in range(3):
        with pytest.raises(GpuError, match="does not answer"):
            await patient.read()
    assert source.calls == 1
    source.go.set()
    reading = await Patient.read(_with_patience(patient, 30.0))
    assert reading == Reading(driver="570")


def _with_patience(patient: Patient[Reading | None], seconds: float) -> Patient[Reading | None]:
    patient._patience = seconds
    return patient


@pytest.mark.parametrize("problem", [GpuError("GPU is lost"), RuntimeError("GPU is lost")])
async def test_whatever_a_source_raises_is_a_reading_that_failed(problem: Exception) -> None:
    """The agent has one kind of error to deal with; the next reading is a new call."""
    patient = Patient(Failing(problem).read, patience=30.0)
    for _ in range(2):
        with pytest.raises(GpuError, match="GPU is lost"):
            await patient.read()


def test_a_hung_call_does_not_keep_the_loop_from_ending() -> None:
    """Leaving asyncio.run while a call hangs returns at once; a late answer finds nobody and does no harm."""
    source = Stuck()

    async def once() -> None:
        with pytest.raises(GpuError):
            await Patient(source.read, patience=0.0).read()

    asyncio.run(once())
    source.go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("blocking:"):
            thread.join(timeout=30.0)
            assert not thread.is_alive()


async def test_a_blocking_function_runs_beside_the_loop() -> None:
    """The result comes back, and the thread is not the loop's."""
    assert await in_daemon_thread(threading.get_ident) != threading.get_ident()
    assert await in_daemon_thread(time.monotonic) > 0


def test_a_bounded_call_answers_or_raises_as_its_function_does() -> None:
    """The wait changes neither."""
    bounded = Bounded(30.0)
    assert bounded.call("pod", lambda: 7) == 7
    with pytest.raises(PermissionError, match="maps"):
        bounded.call("pod", Failing(PermissionError("maps")).read)


def test_a_hung_call_costs_its_tenant_alone() -> None:
    """No second one is made for it until the first has ended; others are answered meanwhile."""
    source, bounded = Stuck(), Bounded(0.05)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            bounded.call("hostile", source.read)
    assert (source.calls, bounded.call("other", lambda: 7)) == (1, 7)
    (hung,) = bounded._hung.values()
    source.go.set()
    hung.join()
    assert bounded.call("hostile", lambda: 8) == 8
