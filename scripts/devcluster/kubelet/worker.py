"""One pod on this node, from its first sight to its removal.

Phases: prepare materials, init containers in order (sidecars stay), main containers together, then wait to be deleted.
Deletion may come at any of them: containers get SIGTERM, main ones first, sidecars in reverse order after them, all of
them SIGKILL when the grace period is over; only then does the API object go.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from devcluster.client import PODS, ApiError
from devcluster.informer import FAILURES
from devcluster.kubelet.context import NodeContext, first_of
from devcluster.kubelet.materials import Materials
from devcluster.kubelet.records import Record, Waiting, records_of
from devcluster.kubelet.reporter import Reporter
from devcluster.kubelet.runner import Runner
from devcluster.kubelet.status import Place, phase_of, pod_status

_DEFAULT_GRACE = 30.0
_RETRY = 0.5
_log = logging.getLogger(__name__)


class PodWorker:
    """Runs one pod."""

    def __init__(self, node: NodeContext, pod: Mapping[str, Any], pod_ip: str) -> None:
        meta = pod["metadata"]
        self.uid: str = meta["uid"]
        self.records: dict[str, Record] = records_of(pod)
        self._node = node
        self._place = Place(host_ip=node.host_ip, pod_ip=pod_ip, started=node.clock.time())
        self._materials = Materials(node, pod, pod_ip)
        self._policy: str = pod["spec"].get("restartPolicy", "Always")
        self._reporter = Reporter(
            node.client, namespace=meta["namespace"], name=meta["name"], uid=self.uid, compute=self._status
        )
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._gone = False
        self._failed = False
        self._refreshes: set[asyncio.Task[None]] = set()
        specs = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
        self._runners = [
            Runner(
                node,
                spec,
                record=self.records[spec["name"]],
                materials=self._materials,
                changed=self._reporter.changed,
            )
            for spec in specs
        ]

    def update(self, pod: Mapping[str, Any]) -> None:
        """Take notice of a change of the API object."""
        before, self._materials.pod = self._materials.pod, pod
        if pod["metadata"].get("deletionTimestamp"):
            self._hurried.set()
            self._stopping.set()
        elif self._node.prompt_refresh and any(
            pod["metadata"].get(part) != before["metadata"].get(part) for part in ("annotations", "labels")
        ):
            self.refresh()

    def runner(self, container: str) -> Runner | None:
        """Return what keeps a container running."""
        return next((each for each in self._runners if each.record.name == container), None)

    def refresh(self) -> None:
        """Bring projected volumes up to date, beside everything else."""
        task = asyncio.ensure_future(self._materials.refresh())
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    def forget(self) -> None:
        """The API object is gone: end everything at once."""
        self._gone = True
        self._hurried.set()
        self._stopping.set()

    async def run(self) -> None:
        """Live the pod's whole life."""
        reporting = asyncio.ensure_future(self._reporter.run())
        self._reporter.changed()
        work = asyncio.ensure_future(self._work())
        try:
            await first_of(asyncio.shield(work), self._stopping.wait())
            await self._stop_all(work)
            await self._reporter.flush()
            await self._stopping.wait()
            self._materials.discard()
            await self._remove()
        except Exception:  # noqa: BLE001 - one pod's bug must not end the node; it is logged with its trace
            _log.exception("pod %s: its worker broke; this is a bug of the kubelet", self.uid)
        finally:
            for runner in self._runners:
                runner.kill()
            reporting.cancel()
            work.cancel()
            await asyncio.gather(reporting, work, *self._refreshes, return_exceptions=True)

    async def abandon(self) -> None:
        """The kubelet stops: end the containers and clean up, without a word to the API server."""
        self._reporter.silence()
        self._gone = True
        for runner in self._runners:
            runner.kill()
        await asyncio.gather(*(runner.done.wait() for runner in self._runners if runner.begun))
        self._materials.discard()

    async def _work(self) -> None:
        if not await self._materials.prepare(self._stopping):
            return
        keeping: list[asyncio.Task[None]] = []
        for runner in self._of_kind("init", "sidecar"):
            if not await self._initialise(runner, keeping):
                await asyncio.gather(*keeping)
                return
        for record in self.records.values():
            if record.kind == "main":
                record.state = Waiting("ContainerCreating")
        main = self._of_kind("main")
        await asyncio.gather(*(runner.keep(self._policy) for runner in main))
        if not self._stopping.is_set():
            await self._stop(self._of_kind("sidecar")[::-1], one_by_one=True)
        await asyncio.gather(*keeping)

    async def _initialise(self, runner: Runner, keeping: list[asyncio.Task[None]]) -> bool:
        """Run one init container; return whether the next may follow."""
        if self._stopping.is_set():
            return False
        if runner.record.kind == "sidecar":
            keeping.append(asyncio.ensure_future(runner.keep("Always")))
            await first_of(runner.started.wait(), self._stopping.wait())
            return not self._stopping.is_set()
        await runner.keep("Never" if self._policy == "Never" else "OnFailure")
        if not runner.record.ready and not self._stopping.is_set():
            self._failed = True
            await self._stop(self._of_kind("sidecar")[::-1], one_by_one=True)
        return runner.record.ready

    def _of_kind(self, *kinds: str) -> list[Runner]:
        return [runner for runner in self._runners if runner.record.kind in kinds]

    async def _stop_all(self, work: "asyncio.Future[None]") -> None:
        """End what runs, within the grace period."""
        if self._stopping.is_set():
            await self._stop(self._of_kind("init", "main"), one_by_one=False)
            await self._stop(self._of_kind("sidecar")[::-1], one_by_one=True)
        await work

    async def _stop(self, runners: Sequence[Runner], *, one_by_one: bool) -> None:
        for group in [[runner] for runner in runners] if one_by_one else [list(runners)]:
            for runner in group:
                runner.stop()
            await self._until_ended([runner for runner in group if runner.begun])

    async def _until_ended(self, runners: Sequence[Runner]) -> None:
        begun = self._node.clock.time()
        ended = asyncio.ensure_future(asyncio.gather(*(runner.done.wait() for runner in runners)))
        while not ended.done():
            left = 0.0 if self._gone else begun + self._grace() - self._node.clock.time()
            if left <= 0:
                for runner in runners:
                    runner.kill()
                await ended
                return
            self._hurried.clear()
            await first_of(asyncio.shield(ended), self._node.clock.sleep(left), self._hurried.wait())

    def _grace(self) -> float:
        pod = self._materials.pod
        asked = pod["metadata"].get("deletionGracePeriodSeconds")
        if asked is None:
            asked = pod["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
        return float(asked)

    def _status(self) -> dict[str, Any]:
        records = list(self.records.values())
        return pod_status(
            records,
            phase="Failed" if self._failed else phase_of(records, self._policy),
            place=self._place,
            before=self._materials.pod.get("status") or {},
            now=self._node.clock.time(),
        )

    async def _remove(self) -> None:
        """Delete the API object for good, if it is still this pod."""
        meta = self._materials.pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        while not self._gone:
            try:
                await self._node.client.delete(PODS.path(meta["namespace"], meta["name"]), options)
            except ApiError as error:
                if error.code in {404, 409}:
                    return
            except FAILURES as error:
                _log.warning("pod %s/%s not deleted, trying again: %s", meta["namespace"], meta["name"], error)
            else:
                return
            await self._node.clock.sleep(_RETRY)
