"""One container of a pod over all its runs: start, wait, back off, start again, stop."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping
from typing import Any

from devcluster.events import reference
from devcluster.informer import FAILURES
from devcluster.kubelet import runtime
from devcluster.kubelet.backoff import Backoff, in_words, restarts
from devcluster.kubelet.build import build_plan, termination_message
from devcluster.kubelet.context import NodeContext, first_of
from devcluster.kubelet.materials import Materials
from devcluster.kubelet.nvidia import NvidiaError
from devcluster.kubelet.plan import Plan
from devcluster.kubelet.processes import recorded
from devcluster.kubelet.records import Ended, Record, Running, Waiting
from devcluster.kubelet.sources import ConfigError

_CONFIG_PAUSE = 0.5
_START_ERROR = 128
_RUNTIME_REFUSED = "failed to create containerd task: failed to create shim task: OCI runtime create failed"
_log = logging.getLogger(__name__)


class Runner:
    """Keeps one container in the state that its restart policy asks for."""

    def __init__(
        self,
        node: NodeContext,
        spec: Mapping[str, Any],
        *,
        record: Record,
        materials: Materials,
        changed: Callable[[], None],
    ) -> None:
        self.record = record
        self.started = asyncio.Event()
        """Set at the first start."""
        self.begun = False
        """Whether :meth:`keep` was called."""
        self.done = asyncio.Event()
        """Set when :meth:`keep` has returned."""
        self._node = node
        self._spec = spec
        self._materials = materials
        self._changed = changed
        self._stopping = asyncio.Event()
        self._killed = False
        self._container: runtime.Container | None = None
        self._plan: Plan | None = None
        self._backoff = Backoff()

    async def keep(self, policy: str) -> None:
        """Run the container until ``policy`` says that it stays ended, or until it was stopped."""
        self.begun = True
        try:
            while not self._stopping.is_set():
                plan = await self._configure()
                if plan is None:
                    continue
                ended = await self._run(plan)
                if self._stopping.is_set() or not restarts(policy, ended.code):
                    return
                await self._back_off(ended)
        finally:
            self.done.set()

    def stop(self) -> None:
        """Ask the container to end, and keep it from being started again."""
        first = not self._stopping.is_set()
        self._stopping.set()
        if first and self._container is not None:
            self._emit("Killing", f"Stopping container {self.record.name}")
            self._container.signal(signal.SIGTERM)

    def running(self) -> tuple[int, Plan]:
        """Return the container's first process and its plan.

        Raises:
            LookupError: there is no process to join.
        """
        if isinstance(self._container, runtime.ShimContainer) and self._plan is not None:
            return self._container.pid, self._plan
        if self._container is not None:
            raise LookupError(f'container "{self.record.name}" has no command, so nothing runs that could be joined')
        raise LookupError(f'container not found ("{self.record.name}")')

    def kill(self) -> None:
        """End the container at once."""
        self._stopping.set()
        self._killed = True
        if self._container is not None:
            self._container.signal(signal.SIGKILL)

    async def _configure(self) -> Plan | None:
        """Return the plan of the next run; None after a pause if it cannot be made now."""
        try:
            return await build_plan(self._node, self._spec, self._materials, restarts=self.record.restarts)
        except ConfigError as error:
            reason, message = "CreateContainerConfigError", str(error)
        except NvidiaError as error:
            reason, message = "RunContainerError", f"{_RUNTIME_REFUSED}: {error}"
        except (*FAILURES, OSError) as error:
            reason, message = "CreateContainerError", str(error)
        self._emit("Failed", f"Error: {message}", warning=True)
        self.record.state = Waiting(reason, message)
        self._changed()
        await first_of(self._node.clock.sleep(_CONFIG_PAUSE), self._stopping.wait())
        return None

    async def _run(self, plan: Plan) -> Ended:
        """Start the container and wait for its end."""
        name, image = self.record.name, self.record.image
        begun = self._node.clock.time()
        self.record.container_id = f"process://{plan.scratch.rpartition('/')[2]}"
        self._plan = plan
        self._emit("Pulled", f'Container image "{image}" already present on machine')
        try:
            self._container = await runtime.start(plan)
        except runtime.StartError as error:
            self._emit("Failed", f"Error: {error}", warning=True)
            return self._end(plan, begun=begun, code=_START_ERROR, reason="StartError", message=str(error))
        self._emit("Created", f"Created container: {name}")
        self._emit("Started", f"Started container {name}")
        self.record.state = Running(self._node.clock.time())
        self.started.set()
        self._changed()
        if self._stopping.is_set():
            self._container.signal(signal.SIGKILL if self._killed else signal.SIGTERM)
        with self._noted(self._container, plan):
            code = await self._container.wait()
        self._container = None
        reason = "Error" if code else "Completed"
        return self._end(plan, begun=self.record.state.started, code=code, reason=reason)

    def _noted(self, container: runtime.Container, plan: Plan) -> contextlib.AbstractContextManager[None]:
        """The note that stands for the container's processes, if it has any."""
        if not isinstance(container, runtime.ShimContainer):
            return contextlib.nullcontext()
        uid = self._materials.pod["metadata"]["uid"]
        return recorded(self._node.host, container.ancestor, plan, uid=uid, container=self.record.name)

    def _end(self, plan: Plan, *, begun: float, code: int, reason: str, message: str = "") -> Ended:
        ended = Ended(
            code=code,
            reason=reason,
            started=begun,
            finished=self._node.clock.time(),
            message=termination_message(plan) or message,
            container_id=self.record.container_id,
        )
        self.record.state = ended
        self.started.set()
        self._changed()
        return ended

    async def _back_off(self, ended: Ended) -> None:
        record = self.record
        self._backoff = self._backoff.ended(started=ended.started, finished=ended.finished)
        delay = self._backoff.delay or 0.0
        if delay:
            meta = self._materials.pod["metadata"]
            pod = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
            self._emit("BackOff", f"Back-off restarting failed container {record.name} in pod {pod}", warning=True)
            message = f"back-off {in_words(delay)} restarting failed container={record.name} pod={pod}"
            record.last, record.state = ended, Waiting("CrashLoopBackOff", message)
            self._changed()
            await first_of(self._node.clock.sleep(delay), self._stopping.wait())
        if self._stopping.is_set():
            record.state = ended
            return
        record.last = ended
        record.restarts += 1

    def _emit(self, reason: str, message: str, *, warning: bool = False) -> None:
        part = "containers" if self.record.kind == "main" else "initContainers"
        path = f"spec.{part}{{{self.record.name}}}"
        involved = reference(self._materials.pod, kind="Pod", field_path=path)
        self._node.recorder.emit(involved, reason=reason, message=message, warning=warning)
