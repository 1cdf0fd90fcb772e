"""When a grant is given back."""

from datetime import UTC, datetime, timedelta

import pytest

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.quantities import Memory
from allocator.core.giveback import PodFacts, Verdict, absent, holder, names_pod, stopped, verdict

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GRACE = timedelta(seconds=90)
ALLOCATION = Allocation(id="a", node="n", containers={"w": (Slice("GPU-1", Memory.mib(1)),)})


def grant(*, pod: str = "web-*", uid: str = "", owner: str = "", releasing: bool = False) -> Grant:
    """A grant, not seen unless said."""
    since = NOON if releasing else None
    return Grant(allocation=ALLOCATION, namespace="team", pod=pod, granted=NOON, uid=uid, owner=owner, releasing=since)


def pod(
    *, name: str = "web-1", uid: str = "u-1", namespace: str = "team", ended: bool = False, running: bool = False
) -> PodFacts:
    """The pod of that grant, unless said otherwise."""
    return PodFacts(namespace=namespace, name=name, uid=uid, ended=ended, stopped=not running)


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
        (grant(uid="u-1"), pod(ended=True, running=True), 1, Verdict.CONFIRM),
        (grant(), pod(ended=True, running=True), 1, Verdict.CONFIRM),
        (grant(uid="u-1", releasing=True), None, 10**6, Verdict.KEEP),
        (grant(uid="u-1", releasing=True), pod(ended=True), 10**6, Verdict.KEEP),
        (grant(releasing=True), pod(), 1, Verdict.REVIVE),
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


def test_an_agents_word_counts_once_it_was_asked():
    """Before the pod is gone an agent that knows nothing of it may just be behind."""
    ask = {"known": GRACE * 2, "grace": GRACE, "confirmed": True}
    assert verdict(grant(uid="u-1", releasing=True), None, **ask) is Verdict.RELEASE
    assert verdict(grant(uid="u-1", releasing=True), pod(), **ask) is Verdict.REVIVE
    assert verdict(grant(uid="u-1"), None, **ask) is Verdict.ASK


@pytest.mark.parametrize(
    ("held", "carriers", "wanted"),
    [
        (grant(uid="u-1"), [], Verdict.CONFIRM),
        (grant(uid="u-1"), [pod(ended=True)], Verdict.RELEASE),
        (grant(uid="u-1"), [pod(ended=True, running=True)], Verdict.CONFIRM),
        (grant(), [], Verdict.RELEASE),
        (grant(), [pod(ended=True), pod(uid="u-2", ended=True, running=True)], Verdict.CONFIRM),
        (grant(), [pod(namespace="evil", running=True)], Verdict.RELEASE),
    ],
)
def test_a_pod_that_the_api_server_does_not_have(held, carriers, wanted):
    """Free is what was seen to stop or never was; for the rest the agent is asked."""
    assert absent(held, carriers) is wanted


RUNNING, TERMINATED, WAITING = {"running": {}}, {"terminated": {"exitCode": 0}}, {"waiting": {}}


@pytest.mark.parametrize(
    ("node", "phase", "deleting", "states", "wanted"),
    [
        ("", "Pending", False, {}, True),
        ("n", "Pending", False, {"w": WAITING}, False),
        ("n", "Pending", True, {}, False),
        ("n", "Running", True, {"w": RUNNING}, False),
        ("n", "Running", False, {"w": TERMINATED, "s": TERMINATED}, False),
        ("n", "Running", True, {"w": TERMINATED, "s": TERMINATED}, True),
        ("n", "Running", True, {"w": TERMINATED, "s": RUNNING}, False),
        ("n", "Running", True, {"w": TERMINATED}, False),
        ("n", "Succeeded", False, {"w": TERMINATED, "s": TERMINATED}, True),
        ("n", "Failed", False, {}, True),
        ("n", "Failed", True, {"w": RUNNING, "s": TERMINATED}, False),
    ],
)
def test_what_shows_that_a_pod_has_stopped(node, phase, deleting, states, wanted):
    """Only what cannot start again: a crashed container may, and a lost node's pod is called Failed while it runs."""
    found = {
        "metadata": {"name": "web-1", "uid": "u-1"}
        | ({"deletionTimestamp": "2026-01-01T12:00:00Z"} if deleting else {}),
        "spec": {"nodeName": node, "containers": [{"name": "w"}], "initContainers": [{"name": "s"}]},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": key, "state": state} for key, state in states.items()],
        },
    }
    assert stopped(found) is wanted
