"""What an API server does with pods between a client's request and its store: webhooks, later admission, names."""

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from random import Random
from typing import Any

from allocator.kube import PODS
from tests.storm.api import StormApi
from tests.storm.replica import REQUEST_LIMIT, Replica
from tests.storm.trace import Trace
from tests.storm.truth import Truth, carried
from tests.unit.kube.fakeapi import copied
from webhook.review import Answer, Review

WEBHOOK_TIMEOUT = 2.5
USER = "alice"


class RefusedError(Exception):
    """The request failed; says why."""


class PodServer:
    """Pods, created, edited and deleted as users do it.

    Attributes:
        replicas: those behind the webhook's Service, dead ones too until somebody notices.
    """

    def __init__(self, api: StormApi, truth: Truth, random: Random, trace: Trace) -> None:
        self._api = api
        self._truth = truth
        self._random = random
        self._trace = trace
        self._numbers = count(1)
        self.replicas: list[Replica] = []

    async def create(
        self, body: Mapping[str, Any], *, namespace: str, dry_run: bool = False, refuse: bool = False, slow: float = 0.0
    ) -> dict:
        """Create a pod.

        Args:
            body: as the user sent it.
            namespace: where.
            dry_run: leave no trace.
            refuse: somebody after our webhook says no.
            slow: seconds that whoever is after our webhook takes.

        Raises:
            RefusedError: it is not there.
        """
        loop = asyncio.get_running_loop()
        deadline, epoch = loop.time() + REQUEST_LIMIT, self._api.epoch
        pod = await self._admitted(body, namespace, dry_run=dry_run)
        with self._truth.on_its_way(pod, dry_run=dry_run) as flight:
            await asyncio.sleep(self._random.uniform(0, 0.02) + slow)
            if slow and self._random.random() < 0.5:
                pod = await self._again(pod, namespace, dry_run=dry_run)
                self._truth.turn(flight, pod, dry_run=dry_run)
            if refuse or dry_run or loop.time() > deadline or self._api.epoch != epoch or self._api.down:
                raise RefusedError("dry run" if dry_run else "refused or too late")
            return self._persist(pod, namespace)

    async def edit(self, name: str, *, namespace: str, change: Callable[[dict], None]) -> None:
        """A user's update of a pod, through the webhook as well; nothing happens where it is refused."""
        old = self._api.see(PODS, name, namespace=namespace)
        if old is None or self._api.down:
            raise RefusedError("no such pod")
        new = copied(old)
        change(new)
        review = self._review("UPDATE", new, old=copied(old), namespace=namespace)
        new = self._patched(new, await self._ask(review))
        current = self._api.see(PODS, name, namespace=namespace)
        if current is None or current["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise RefusedError("conflict")
        self._trace(USER, "edits", name)
        self._api.put(PODS, new, namespace=namespace)

    def delete(self, name: str, *, namespace: str, force: bool = False) -> None:
        """Delete a pod: at once where no kubelet has it, or by force; else its kubelet is asked to end it."""
        pod = self._api.see(PODS, name, namespace=namespace)
        if pod is None or self._api.down:
            return
        # A pod that goes by force before any leader has seen it is known to nobody: docs/ledger.md says so.
        force = force and self._truth.marked(pod)
        if force or not pod["spec"].get("nodeName"):
            self._trace(USER, "deletes", name, "by force" if force else "at once")
            self._api.drop(PODS, name, namespace=namespace)
        elif not pod["metadata"].get("deletionTimestamp"):
            self._trace(USER, "deletes", name)
            metadata = pod["metadata"] | {"deletionTimestamp": "2026-01-01T12:00:00Z"}
            self._api.put(PODS, pod | {"metadata": metadata}, namespace=namespace)

    # --- inside ----------------------------------------------------------------------------------------------

    async def _admitted(self, body: Mapping[str, Any], namespace: str, *, dry_run: bool) -> dict:
        if self._api.down:
            raise RefusedError("the API server is down")
        pod = copied(dict(body))
        return self._patched(pod, await self._ask(self._review("CREATE", pod, namespace=namespace, dry_run=dry_run)))

    async def _again(self, pod: dict, namespace: str, *, dry_run: bool) -> dict:
        """Another webhook has changed the pod, so that ours is asked once more, perhaps on another replica."""
        changed = copied(pod)
        changed["metadata"]["labels"] = (pod["metadata"].get("labels") or {}) | {"mesh": "yes"}
        return self._patched(
            changed, await self._ask(self._review("CREATE", changed, namespace=namespace, dry_run=dry_run))
        )

    def _review(
        self, operation: str, pod: dict, *, namespace: str, old: dict | None = None, dry_run: bool = False
    ) -> Review:
        return Review(
            uid=f"review-{next(self._numbers)}",
            operation=operation,
            kind="Pod",
            group="",
            subresource="",
            namespace=namespace,
            pod=pod,
            old=old,
            dry_run=dry_run,
            user=USER,
        )

    async def _ask(self, review: Review) -> Answer:
        """One replica's answer; failurePolicy: Fail."""
        ready = [one for one in self.replicas if one.ready]
        if not ready or self._random.random() < 0.02:
            ready = self.replicas
        replica = self._random.choice(ready)
        await asyncio.sleep(self._random.uniform(0, 0.01))
        answering = asyncio.create_task(replica.answer(review))
        await asyncio.wait(
            [answering, replica.process.died], timeout=WEBHOOK_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
        )
        if not answering.done():
            self._trace(replica.process.name, "does not answer", review.operation, review.name)
            raise RefusedError("the webhook does not answer")
        answer = answering.result()
        self._trace(replica.process.name, review.operation, review.name, answer.allowed, answer.audit or "")
        return answer

    def _patched(self, pod: dict, answer: Answer) -> dict:
        if not answer.allowed:
            raise RefusedError(answer.message)
        return answer.patch.apply(pod, in_place=True) if answer.patch else pod

    def _persist(self, pod: dict, namespace: str) -> dict:
        number = next(self._numbers)
        metadata = pod["metadata"]
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{number:04}"
        if self._api.see(PODS, metadata["name"], namespace=namespace) is not None:
            raise RefusedError("already exists")
        seconds = int(asyncio.get_running_loop().time())
        metadata |= {
            "uid": f"uid-{number}",
            "creationTimestamp": f"2026-01-01T12:{seconds // 60:02}:{seconds % 60:02}Z",
        }
        self._trace("persisted", metadata["name"], metadata["uid"], carried(pod)[0] or "queued")
        self._truth.persisted(pod)
        return self._api.put(PODS, pod | {"status": {"phase": "Pending"}}, namespace=namespace)
