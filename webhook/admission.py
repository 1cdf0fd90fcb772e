"""From a review to its answer: reads the pod, asks the allocator where it has to, and lets the mutation do the rest."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from allocator.api import names
from allocator.api.allocation import Allocation, allocation_of
from allocator.api.errors import FormatError, MustWaitError, NoCapacityError
from allocator.api.request import PodRequest, WhenFull, parse_pod
from allocator.controller import Granted, GrantRequest, owner_of
from webhook.mutation import create, scheduling, update
from webhook.mutation.conflicts import refuse_conflicts
from webhook.mutation.delivery import delivery_to
from webhook.mutation.outcome import Notes, Queued
from webhook.mutation.patch import difference
from webhook.mutation.shapes import Json, annotations_of, labels_of, spec_of
from webhook.podcheck import check_pod
from webhook.review import Answer, Review, ReviewError, listed
from webhook.settings import Delivery, WebhookSettings

_log: Final = structlog.get_logger(__name__)
UNTOUCHED: Final = Answer()


class Grants(Protocol):
    """What the webhook needs of an allocator; `allocator.controller.Allocator` is one."""

    @property
    def ready(self) -> bool:
        """Whether it knows the cluster well enough to decide."""

    async def grant(self, asked: GrantRequest, /) -> Granted:
        """Find a place and hold it.

        Raises:
            NoCapacityError: nothing fits now. A MustWaitError: it has to pass the queue.
            OverQuotaError: its namespace has no quota left, and is not to wait for it.
            ConflictError: others were faster for the whole of its patience.
            NotReadyError: it does not know the cluster.
        """

    async def recognise(self, namespace: str, allocation: Allocation, /) -> Granted | None:
        """The grant that this exact allocation is, if it stands, is of this namespace and no pod has used it yet."""

    async def give_back(self, granted: Granted, /) -> None:
        """Let a grant go whose pod will not be."""

    def namespace(self, name: str, /) -> Mapping[str, Any] | None:
        """A Namespace object as last seen; None: not seen yet."""


@dataclass(frozen=True, slots=True)
class StepContext:
    """What an own step of the mutation may know.

    Attributes:
        namespace: the pod's.
        request: what it asks; None: no GPU.
        outcome: its grant, or its wait; None for a pod without GPUs.
        dry_run: whether nothing may be written anywhere.
    """

    namespace: str
    request: PodRequest | None
    outcome: Granted | Queued | None
    dry_run: bool


Step = Callable[[Json, StepContext], Json]
"""An own step of the mutation of new pods, after vramshare's: a function from the pod to the pod wanted.

It may be called several times on one pod, then on its own earlier result, and must leave that alone. It may raise
`RequestError` to refuse the pod; a grant is given back then.
"""


class Admission:
    """Answers reviews of pods.

    Attributes:
        settings: what to write and whom to trust.
    """

    def __init__(self, settings: WebhookSettings, allocator: Grants, *, steps: Sequence[Step] = ()) -> None:
        self.settings = settings
        self._allocator = allocator
        self._steps = tuple(steps)
        self._returning: set[asyncio.Task[None]] = set()

    async def answer(self, review: Review) -> Answer:
        """The answer to a review.

        Raises:
            VramshareError: the pod is not to be; `webhook.denials` makes an answer of it.
        """
        if (review.kind, review.group) != ("Pod", "") or review.namespace == self.settings.admission.system_namespace:
            return UNTOUCHED
        if review.operation == "CREATE" and not review.subresource:
            return await self._create(review, _checked(review.pod, "object"))
        if review.operation == "UPDATE" and review.subresource in {"", "ephemeralcontainers", "resize"}:
            return self._update(review, _checked(review.pod, "object"), _checked(review.old, "oldObject"))
        return UNTOUCHED

    async def settle(self) -> None:
        """Wait until every grant that was to be given back is."""
        await asyncio.gather(*self._returning, return_exceptions=True)

    async def _create(self, review: Review, pod: Mapping[str, Any]) -> Answer:
        if _opted_out(pod):
            return UNTOUCHED
        notes = Notes()
        request = parse_pod(pod)
        refuse_conflicts(pod, {one.container for one in request.containers} if request else set())
        mutation, delivery = self.settings.mutation, Delivery.HOST
        if request is not None:
            delivery = delivery_to(self._allocator.namespace(review.namespace), mutation)
        outcome = await self._mark(review, pod, request) if request else None
        prepared = create.prepare(
            pod, request, settings=mutation, marked=outcome is not None, notes=notes, delivery=delivery
        )
        fresh = request is not None and outcome is None
        if request is not None and outcome is None:
            outcome = await self._decide(review, request, prepared.pod)
        context = StepContext(review.namespace, request, outcome, review.dry_run)
        try:
            changed = create.finish(prepared, outcome)
            for step in self._steps:
                changed = step(changed, context)
            patch = difference(pod, changed)
        except Exception:
            if fresh and isinstance(outcome, Granted) and not review.dry_run:
                self._give_back(outcome)
            raise
        if fresh and isinstance(outcome, Queued):
            notes.add(f"the pod waits: {outcome.reason}")
        return Answer(patch=patch, warnings=tuple(notes.texts), audit=_audit(outcome))

    async def _mark(self, review: Review, pod: Mapping[str, Any], request: PodRequest) -> Granted | Queued | None:
        """What was decided about this very pod on an earlier pass; None: nothing, or what it says is not ours."""
        annotations, spec = annotations_of(pod), spec_of(pod)
        status = annotations.get(names.STATUS)
        if status == names.STATUS_QUEUED:
            waits = scheduling.gated(pod) and _may_wait(request, spec)
            return Queued(reason=annotations.get(names.REASON, "")) if waits else None
        try:
            allocation = allocation_of(annotations)
        except FormatError:
            return None
        if allocation is None or spec.get("nodeName", allocation.node) != allocation.node:
            return None
        if allocation.containers.keys() != {one.container for one in request.containers}:
            return None
        found = await self._allocator.recognise(review.namespace, allocation)
        return found if found is not None and found.grant.pod == review.name else None

    async def _decide(self, review: Review, request: PodRequest, pod: Json) -> Granted | Queued:
        asked = GrantRequest(
            request=request,
            pod=pod,
            namespace=review.namespace,
            pod_name=review.name,
            owner=owner_of(pod),
            dry_run=review.dry_run,
            trace=review.uid,
        )
        held_by = scheduling.foreign_gates(pod)
        if held_by and _may_wait(request, spec_of(pod)):
            # What is granted now would lie idle until somebody else opens theirs; the queue grants ours last.
            return Queued(reason=f"held by other scheduling gates: {', '.join(held_by)}")
        try:
            return await self._allocator.grant(asked)
        except MustWaitError as reason:  # nobody can tell now whether it fits; who wants no queue is tried there too
            if spec_of(pod).get("nodeName"):
                raise
            return Queued(reason=reason.summary)
        except NoCapacityError as reason:
            if not _may_wait(request, spec_of(pod)):
                raise
            return Queued(reason=reason.summary)

    def _update(self, review: Review, new: Mapping[str, Any], old: Mapping[str, Any]) -> Answer:
        """Nothing is granted and nobody is asked: an update must go through whatever the allocator does."""
        if _opted_out(old):
            return UNTOUCHED
        notes = Notes()
        if review.subresource == "ephemeralcontainers":
            changed = update.void_new_ephemeral(new, old, notes)
        else:
            own = self.settings.admission.own_users
            ours = own is None or review.user in own
            changed = update.normalise(new, old, ours=ours, notes=notes)
        return Answer(patch=difference(new, changed), warnings=tuple(notes.texts))

    def _give_back(self, granted: Granted) -> None:
        """Beside the answer: whoever asked need not wait for it."""
        task = asyncio.create_task(self._return(granted))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _return(self, granted: Granted) -> None:
        try:
            await self._allocator.give_back(granted)
        except Exception as reason:  # noqa: BLE001 - the allocator gives back unused grants by itself, only later
            _log.warning("grant_not_given_back", allocation=granted.grant.allocation.id, error=str(reason))


def _checked(pod: Mapping[str, Any] | None, where: str) -> Mapping[str, Any]:
    if pod is None:
        raise ReviewError(f"{where} is missing")
    check_pod(pod, where=where)
    return pod


def _opted_out(pod: Mapping[str, Any]) -> bool:
    return labels_of(pod).get(names.INJECT_LABEL) == names.INJECT_DISABLED


def _may_wait(request: PodRequest, spec: Mapping[str, Any]) -> bool:
    """Whether the pod may be queued. One that names its node passes the scheduler by: no gate can hold it."""
    return request.when_full is WhenFull.QUEUE and not spec.get("nodeName")


def _audit(outcome: Granted | Queued | None) -> dict[str, str]:
    if outcome is None:
        return {"reason": "asks for no GPU"}
    if isinstance(outcome, Queued):
        return {"reason": f"queued: {outcome.reason}"}
    allocation = outcome.grant.allocation
    return {"node": allocation.node, "gpus": listed(allocation.uuids()), "reason": "granted"}
