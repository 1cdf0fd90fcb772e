"""A deadline around what may hang.

A driver in trouble can keep an NVML call for ever, and no thread can be killed. So each kind of call runs in a daemon
thread of its own, at most one at a time: while one hangs, the agent goes on saying so, and takes the answer when
it comes. (asyncio.to_thread will not do: its threads are joined at exit, and the agent could not stop.)
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from allocator.agent.gpus import GpuError

T = TypeVar("T")


def in_daemon_thread(function: Callable[[], T]) -> "asyncio.Future[T]":
    """Call a blocking function in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, problem: Exception | None) -> None:
        if answer.cancelled():
            return
        if problem is not None:
            answer.set_exception(problem)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only where T allows it

    def work() -> None:
        result, problem = None, None
        try:
            result = function()
        except Exception as raised:  # noqa: BLE001 - handed on to whoever waits
            problem = raised
        # The loop may have ended meanwhile; nobody wants the answer any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, problem)

    # Not the function's repr: of a method that holds its object's, which may be long in the making.
    name = getattr(function, "__qualname__", type(function).__name__)
    threading.Thread(target=work, name=f"blocking:{name}", daemon=True).start()
    return answer


class Patient(Generic[T]):
    """Asks something of the driver, waiting at most `patience` seconds each time."""

    def __init__(self, ask: Callable[[], T], *, patience: float) -> None:
        self._ask = ask
        self._patience = patience
        self._pending: asyncio.Future[T] | None = None

    async def read(self) -> T:
        """The answer.

        Raises:
            GpuError: the driver fails, or has not answered in time.
        """
        if self._pending is None:
            self._pending = in_daemon_thread(self._ask)
        pending = self._pending
        await asyncio.wait({pending}, timeout=self._patience)
        if not pending.done():
            raise GpuError("NVML does not answer; the driver or a GPU hangs (see the node's kernel log)")
        self._pending = None
        try:
            return pending.result()
        except GpuError:
            raise
        except Exception as reason:
            # Whatever a broken driver makes pynvml throw is a reading that failed.
            raise GpuError(f"reading the GPUs fails: {type(reason).__name__}: {reason}") from reason


class Bounded:
    """Calls what a tenant can make hang: a file of its processes, whose memory or file system does not answer.

    A call that is late is left behind. While one hangs no other is made for the same tenant, so that each costs the
    wait once and keeps one thread. For one thread at a time.

    Args:
        seconds: that a call may take.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._hung: dict[str, threading.Thread] = {}

    def call(self, tenant: str, function: Callable[[], T]) -> T:
        """What the function returns.

        Raises:
            TimeoutError: it has not come in time, or an earlier call for the tenant still hangs.
            Exception: the function raised it.
        """
        self._hung = {name: thread for name, thread in self._hung.items() if thread.is_alive()}
        if tenant in self._hung:
            raise TimeoutError("an earlier call hangs")
        answer: list[T] = []
        problem: list[Exception] = []

        def work() -> None:
            try:
                answer.append(function())
            except Exception as raised:  # noqa: BLE001 - handed on to whoever waits
                problem.append(raised)

        thread = threading.Thread(target=work, name="bounded", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if thread.is_alive():
            self._hung[tenant] = thread
            raise TimeoutError("no answer in time")
        if problem:
            raise problem[0]
        return answer[0]
