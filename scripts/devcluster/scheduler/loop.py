"""The scheduling loop: watch, choose, assume, bind; tell why not.

Choosing is one synchronous pass over all waiting pods, by priority and age; bindings then travel concurrently. A pod
that fits nowhere is tried again whenever something changes that could make room: a node, or a pod that goes.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from devcluster import tasks
from devcluster.client import NODES, PODS, ApiError, Client
from devcluster.clock import Clock, timestamp
from devcluster.events import Recorder, reference
from devcluster.informer import FAILURES, Informer, Key, key_of
from devcluster.scheduler.cache import Cache
from devcluster.scheduler.predicates import Refusal, explain

NAME = "default-scheduler"
_CONCURRENCY = 16
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Scheduler:
    """Schedules the pods of ``default-scheduler``."""

    def __init__(self, client: Client, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = Recorder(client, component=NAME, clock=clock)
        self._cache = Cache()
        self._waiting: dict[Key, Mapping[str, Any]] = {}
        self._stuck: dict[Key, Mapping[str, Any]] = {}
        self._work = asyncio.Event()
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._errands: set[asyncio.Task[None]] = set()
        self._nodes = Informer(client, NODES)
        self._pods = Informer(client, PODS)
        self._nodes.on_change(self._on_node)
        self._pods.on_change(self._on_pod)

    async def run(self) -> None:
        """Schedule until cancelled."""
        parts = [self._nodes.run(), self._pods.run(), self._recorder.run()]
        loops = [tasks.start(part, "scheduler") for part in parts]
        try:
            await self._nodes.synced.wait()
            await self._pods.synced.wait()
            while True:
                await self._work.wait()
                self._work.clear()
                self._cycle()
        finally:
            await tasks.end([*loops, *self._errands])

    def _cycle(self) -> None:
        """Decide about all waiting pods."""
        waiting, self._waiting = self._waiting, {}
        for key, pod in sorted(waiting.items(), key=lambda item: _precedence(item[1])):
            node, refusals = self._cache.choose(pod)
            if node is None:
                self._stuck[key] = pod
                self._errand(self._refuse(pod, refusals))
            else:
                self._cache.place(pod, node)
                self._errand(self._bind(key, pod, node))

    def _on_node(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        changed = after or before or {}
        self._cache.set_node(changed["metadata"]["name"], after)
        if before is None or after is None or _eligibility(before) != _eligibility(after):
            self._retry_stuck()

    def _on_pod(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        pod = after or before or {}
        key, uid = key_of(pod), pod["metadata"]["uid"]
        if before is not None and before["metadata"]["uid"] != uid:
            self._cache.remove(before["metadata"]["uid"])
        ended = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
        if after is None or ended:
            self._waiting.pop(key, None)
            self._stuck.pop(key, None)
            if self._cache.remove(uid):
                self._retry_stuck()
        elif pod["spec"].get("nodeName"):
            self._waiting.pop(key, None)
            self._stuck.pop(key, None)
            self._cache.place(pod, pod["spec"]["nodeName"])
        elif _is_ours(pod):
            self._queue(key, before, pod)

    def _queue(self, key: Key, before: Mapping[str, Any] | None, pod: Mapping[str, Any]) -> None:
        """Note a pod to be placed; one that is stuck is tried again only if its spec has changed."""
        if before is not None and before["metadata"]["uid"] == pod["metadata"]["uid"]:
            same = before["spec"] == pod["spec"]
            if same and key in self._stuck:
                self._stuck[key] = pod
            if same and key not in self._waiting:
                return
        self._stuck.pop(key, None)
        self._waiting[key] = pod
        self._work.set()

    def _retry_stuck(self) -> None:
        if self._stuck:
            self._waiting.update(self._stuck)
            self._stuck.clear()
            self._work.set()

    def _errand(self, coroutine: Any) -> None:
        task = tasks.start(coroutine, "scheduler")
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _bind(self, key: Key, pod: Mapping[str, Any], node: str) -> None:
        namespace, name = key
        meta = {"name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]}
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": target}
        try:
            async with self._slots:
                await self._client.create(PODS.path(namespace, name, "binding"), body)
        except FAILURES as error:
            self._cache.remove(pod["metadata"]["uid"])
            if isinstance(error, ApiError) and error.code in {404, 409}:
                return
            _log.warning("binding %s/%s to %s failed, trying again: %s", namespace, name, node, error)
            await self._clock.sleep(_RETRY_SECONDS)
            self._waiting[key] = pod
            self._work.set()
        else:
            message = f"Successfully assigned {namespace}/{name} to {node}"
            self._recorder.emit(reference(pod, kind="Pod"), reason="Scheduled", message=message)

    async def _refuse(self, pod: Mapping[str, Any], refusals: Sequence[Refusal]) -> None:
        """Say in the pod's condition and in an Event why it is not placed, if that is not said yet."""
        message = explain(refusals)
        said = [each for each in (pod.get("status") or {}).get("conditions") or [] if each["type"] == "PodScheduled"]
        if said and said[0].get("message") == message:
            return
        self._recorder.emit(reference(pod, kind="Pod"), reason="FailedScheduling", message=message, warning=True)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": timestamp(self._clock.time()),
        }
        namespace, name = key_of(pod)
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [condition]}}
        try:
            async with self._slots:
                await self._client.patch(PODS.path(namespace, name, "status"), body, "strategic")
        except FAILURES as error:
            _log.info("condition of %s/%s not written: %s", namespace, name, error)


def _is_ours(pod: Mapping[str, Any]) -> bool:
    spec = pod["spec"]
    gated = bool(spec.get("schedulingGates"))
    return spec.get("schedulerName", NAME) == NAME and not gated and not pod["metadata"].get("deletionTimestamp")


def _precedence(pod: Mapping[str, Any]) -> tuple[int, str, str]:
    meta = pod["metadata"]
    return -int(pod["spec"].get("priority") or 0), meta.get("creationTimestamp") or "", meta["name"]


def _eligibility(node: Mapping[str, Any]) -> tuple[Any, ...]:
    spec, meta = node.get("spec") or {}, node["metadata"]
    allocatable = (node.get("status") or {}).get("allocatable")
    return spec.get("unschedulable"), spec.get("taints"), meta.get("labels"), allocatable
