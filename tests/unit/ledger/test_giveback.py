"""When a grant is given back."""

from datetime import UTC, datetime, timedelta

import pytest

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.quantities import Memory
from allocator.core.giveback import PodFacts, Verdict, holder, names_pod, verdict

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GRACE = timedelta(seconds=90)
ALLOCATION = Allocation(id="a", node="n", containers={"w": (Slice("GPU-1", Memory.mib(1)),)})


def grant(*, pod: str = "web-*", uid: str = "", owner: str = "") -> Grant:
    """A grant, not seen unless said."""
    return Grant(allocation=ALLOCATION, namespace="team", pod=pod, granted=NOON, uid=uid, owner=owner)


def pod(*, name: str = "web-1", uid: str = "u-1", namespace: str = "team", ended: bool = False) -> PodFacts:
    """The pod of that grant, unless said otherwise."""
    return PodFacts(namespace=namespace, name=name, uid=uid, ended=ended)


@pytest.mark.parametrize(
    ("held", "seen", "age", "wanted"),
    [
        (grant(), pod(), 1, Verdict.MARK),
        (grant(uid="u-1"), pod(), 1, Verdict.KEEP),
        (grant(uid="u-1"), pod(ended=True), 1, Verdict.RELEASE),
        (grant(), pod(ended=True), 1, Verdict.RELEASE),
        (grant(pod="web-0", owner="StatefulSet/web/u"), pod(name="web-0", ended=True), 1, Verdict.KEEP),
        (grant(pod="web-0", owner="StatefulSet/web/u"), pod(name="web-0", ended=True), 91, Verdict.ASK),
        (grant(), None, 90, Verdict.KEEP),
        (grant(), None, 91, Verdict.ASK),
        (grant(uid="u-1"), None, 1, Verdict.ASK),
        (grant(uid="u-1"), pod(), 10**6, Verdict.KEEP),
    ],
)
def test_verdicts(held, seen, age, wanted):
    """An ended pod frees, a living one keeps, and absence alone proves nothing."""
    assert verdict(held, seen, known=timedelta(seconds=age), grace=GRACE) is wanted


def test_holder_is_of_the_namespace_and_name():
    """A pod elsewhere that carries the id of a grant does not hold it."""
    assert holder(grant(), [pod(namespace="evil"), pod(name="other-1"), pod(uid="u-2")]) == pod(uid="u-2")
    assert holder(grant(), [pod(namespace="evil")]) is None


def test_holder_of_a_seen_grant_is_that_very_pod():
    """A pod of the same name that came later is another pod."""
    assert holder(grant(pod="web-1", uid="u-1"), [pod(uid="u-2")]) is None
    assert holder(grant(pod="web-1", uid="u-1"), [pod(uid="u-2"), pod()]) == pod()


def test_generated_names_match_by_prefix():
    """Only before the pod is seen may a name stand for many."""
    assert names_pod("web-*", "web-x7k")
    assert not names_pod("web-*", "we")
    assert not names_pod("web-1", "web-12")
