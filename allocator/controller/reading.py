"""What waiting pods ask, as read from their annotations. Read once per state of a pod: queues are long, rounds many."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from allocator.api import names
from allocator.api.errors import RequestError
from allocator.api.group import Group
from allocator.api.request import parse_pod
from allocator.controller.public import GrantRequest, owner_of
from allocator.core.demand import PodDemand
from allocator.core.queue import Waiting, unwalled


@dataclass(frozen=True, slots=True)
class Reading:
    """A waiting pod, understood.

    Attributes:
        asked: the request.
        demand: what it needs.
        key: equal for pods that fit or fail alike.
    """

    asked: GrantRequest
    demand: PodDemand
    key: object

    @property
    def group(self) -> Group | None:
        """The pods with which it is granted together; None: it is granted alone."""
        return self.asked.request.group


class Reader:
    """Reads waiting pods, and remembers."""

    def __init__(self, demand: Callable[[GrantRequest], PodDemand]) -> None:
        self._demand = demand
        self._known: dict[str, tuple[Waiting, Reading | str]] = {}

    def read(self, one: Waiting) -> Reading | str:
        """What a pod asks; or what is wrong with it, in a sentence for its user."""
        before, found = self._known.get(one.uid, (None, ""))
        if before is None or not (before.pod is one.pod or before.same(one)):
            found = self.fresh(one)
        self._known[one.uid] = (one, found)
        return found

    def fresh(self, one: Waiting) -> Reading | str:
        """The same without remembering."""
        asked = _asked(one)
        if isinstance(asked, str):
            return asked
        demand = self._demand(asked)
        return Reading(asked=asked, demand=demand, key=(demand.shape, demand.policy))

    def forget_all_but(self, uids: Iterable[str]) -> None:
        """Remember only these pods."""
        kept = set(uids)
        self._known = {uid: known for uid, known in self._known.items() if uid in kept}


def _asked(one: Waiting) -> GrantRequest | str:
    """A waiting pod's request; or what is wrong with it."""
    try:
        request = parse_pod(one.pod)
    except RequestError as reason:
        return str(reason)
    if request is None:
        return "waits for a GPU but asks for none any more; delete the pod and create it again"
    bare = unwalled(one.pod, [asking.container for asking in request.containers])
    if bare is not None:
        return (
            f"has vramshare's gate, but container {bare!r} lacks its files: the webhook did not see the pod; "
            f"create it again in a namespace labelled {names.INJECT_LABEL}={names.INJECT_ENABLED}, not opted out"
        )
    return GrantRequest(
        request=request,
        pod=one.pod,
        namespace=one.namespace,
        pod_name=one.name,
        owner=owner_of(one.pod),
        uid=one.uid,
    )
