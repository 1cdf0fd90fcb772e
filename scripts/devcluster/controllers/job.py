"""Jobs: run pods until enough of them have succeeded. Minimal: parallelism, completions, backoffLimit."""

from typing import Any

from devcluster.client import JOBS, PODS
from devcluster.clock import timestamp
from devcluster.controllers.pods import PodControl, from_template, is_active, owner_of_events, ready_since
from devcluster.controllers.shared import Shared, owned_by, owner_key, owner_reference
from devcluster.controllers.workqueue import WorkQueue
from devcluster.informer import Key, Object, key_of

_KIND = {"api_version": "batch/v1", "kind": "Job"}
_BACKOFF_LIMIT = 6


class Jobs:
    """The controller of Jobs."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._jobs = shared.informer(JOBS)
        self._pods = shared.informer(PODS)
        self._recorder = shared.recorder("job-controller")
        self._control = PodControl(shared, self._recorder)
        self.queue = WorkQueue("job", self.reconcile, clock=shared.clock)
        self._jobs.on_change(lambda before, after: self.queue.add(key_of(after or before or {})))
        self._pods.on_change(self._on_pod)

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        key = owner_key(after or before or {}, "Job")
        if key is not None:
            self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Start missing pods, or finish the Job."""
        job = self._jobs.items.get(key)
        if job is None or job["metadata"].get("deletionTimestamp") or _finished(job):
            return
        pods = owned_by(self._pods, job)
        status = job_status(job, pods, now=timestamp(self._shared.clock.time()))
        active = [pod for pod in pods if is_active(pod)]
        if _finished({"status": status}):
            await self._control.delete(active, owner_of_events(job, **_KIND))
            self._tell_end(job, status)
        elif not job["spec"].get("suspend"):
            await self._start(job, missing=_wanted(job, status["succeeded"]) - len(active))
        if status != {name: (job.get("status") or {}).get(name) for name in status}:
            await self._shared.client.patch(JOBS.path(*key, subresource="status"), {"status": status})

    async def _start(self, job: Object, *, missing: int) -> None:
        if missing <= 0:
            return
        link = owner_reference(job, **_KIND)
        body = from_template(job["spec"]["template"], link, prefix=job["metadata"]["name"])
        await self._control.create([body] * missing, owner_of_events(job, **_KIND))

    def _tell_end(self, job: Object, status: dict[str, Any]) -> None:
        failed = any(each["type"] == "Failed" for each in status["conditions"])
        reason, message = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if not failed:
            reason, message = "Completed", "Job completed"
        self._recorder.emit(owner_of_events(job, **_KIND), reason=reason, message=message, warning=failed)


def job_status(job: Object, pods: list[Object], *, now: str) -> dict[str, Any]:
    """Return a Job's status from its pods."""
    phases = [(pod.get("status") or {}).get("phase") for pod in pods]
    before = job.get("status") or {}
    succeeded, failed = phases.count("Succeeded"), phases.count("Failed")
    status: dict[str, Any] = {
        "active": sum(is_active(pod) for pod in pods),
        "ready": sum(is_active(pod) and ready_since(pod) is not None for pod in pods),
        "succeeded": succeeded,
        "failed": failed,
        "startTime": before.get("startTime") or now,
        "conditions": before.get("conditions") or [],
    }
    spec = job["spec"]
    if failed > spec.get("backoffLimit", _BACKOFF_LIMIT):
        why = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
        status["conditions"] = _ends("FailureTarget", "Failed", why, now)
        status["active"] = status["ready"] = 0
    elif succeeded >= (spec.get("completions") or 1):
        why = {"reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}
        status["conditions"] = _ends("SuccessCriteriaMet", "Complete", why, now)
        status["completionTime"] = now
        status["active"] = status["ready"] = 0
    return status


def _wanted(job: Object, succeeded: int) -> int:
    spec = job["spec"]
    return min(int(spec.get("parallelism", 1)), int(spec.get("completions") or 1) - succeeded)


def _finished(job: Object) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(each["type"] in {"Complete", "Failed"} and each["status"] == "True" for each in conditions)


def _ends(target: str, end: str, why: dict[str, str], now: str) -> list[dict[str, str]]:
    times = {"lastProbeTime": now, "lastTransitionTime": now}
    return [{"type": kind, "status": "True", **why, **times} for kind in (target, end)]
