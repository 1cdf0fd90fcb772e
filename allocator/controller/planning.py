"""From a request and the fleet to a grant that could be written. Pure but for the id and the time it is given."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import RequestError
from allocator.api.grant import Grant
from allocator.api.request import PodRequest, normalised_annotations
from allocator.controller.public import GrantRequest
from allocator.controller.settings import AllocatorSettings
from allocator.core.demand import PodDemand
from allocator.core.placement import Placement

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_GENERATED: Final = re.compile(r"[a-z0-9][-a-z0-9.]{0,251}\*")


def demand_of(
    asked: GrantRequest, *, runtimes: Callable[[str], Mapping[str, Any] | None], settings: AllocatorSettings
) -> PodDemand:
    """What a pod needs of GPUs and of its node.

    Args:
        asked: the pod and its request.
        runtimes: finds a RuntimeClass by its name.
        settings: what the webhook will add to the pod.
    """
    runtime = (asked.pod.get("spec") or {}).get("runtimeClassName") or settings.runtime_class
    return PodDemand.from_pod(asked.pod, asked.request, runtime=runtimes(runtime), tolerations=settings.tolerations)


def check_names(asked: GrantRequest) -> None:
    """At admission no name has been validated yet, and names go into the ledger.

    Raises:
        RequestError: one is no name; the API server would refuse the pod as well.
    """
    for container in asked.request.containers:
        if not _NAME.fullmatch(container.container):
            raise _no_name("spec.containers[].name", container.container)
    if not (_NAME.fullmatch(asked.pod_name) or _GENERATED.fullmatch(asked.pod_name)):
        raise _no_name("metadata.name", asked.pod_name)


def new_grant(asked: GrantRequest, placement: Placement, *, grant_id: str, now: datetime) -> Grant:
    """The grant of a placement."""
    return Grant(
        allocation=Allocation(id=grant_id, node=placement.node, containers=_slices(asked.request, placement)),
        namespace=asked.namespace,
        pod=asked.pod_name,
        granted=now.replace(microsecond=0),
        uid=asked.uid,
        owner=asked.owner,
        shape=shape_of(asked.request),
    )


def _slices(request: PodRequest, placement: Placement) -> dict[str, tuple[Slice, ...]]:
    """The placement's slices with each container's policy of GPU time, which has no bearing on where they fit."""
    policies = {one.container: one.cores_policy for one in request.containers}
    return {
        name: tuple(replace(one, policy=policies[name]) for one in slices)
        for name, slices in placement.containers.items()
    }


@lru_cache(maxsize=1024)
def shape_of(request: PodRequest) -> str:
    """Digest of what a request asks: equal for pods of one template."""
    choice = [sorted(part) for one in (request.models, request.uuids) for part in (one.include, one.exclude)]
    text = repr((sorted(normalised_annotations(request).items()), choice, request.policy))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def may_reuse(grant: Grant, asked: GrantRequest, *, now: datetime, within: timedelta) -> bool:
    """Whether an earlier create of the same pod left this grant behind, unused.

    With a fixed name there can be but one such pod: creating it again means that the first create failed, that
    this one will, or that the first pod has gone already: `giveback.may_have_gone_on` keeps its end from ending the
    second one's grant. With a generated name two creates of one owner are two pods, of which either may still be on
    its way: such a grant comes back by the grace alone. So does that of a pod without an owner, which may come and
    go quickly and must give back as quickly.

    Args:
        grant: made for a pod of this name.
        asked: the new create.
        now: the time.
        within: age up to which the new create surely ends before the grant would be given back as never seen.
    """
    if asked.uid or grant.uid or grant.releasing or not asked.owner or asked.pod_name.endswith("*"):
        return False
    if now - grant.granted > within:
        return False
    mine = (asked.namespace, asked.pod_name, asked.owner, shape_of(asked.request))
    return mine == (grant.namespace, grant.pod, grant.owner, grant.shape)


def _no_name(where: str, value: str) -> RequestError:
    return RequestError(
        where=where,
        value=value,
        problem="not a name that Kubernetes takes",
        remedy="use lower-case letters, digits and dashes",
    )
