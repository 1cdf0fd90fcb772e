"""What is told of containers, and when."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.announce import note
from allocator.agent.judge import Verdict
from allocator.agent.tracker import LONGEST_REASON, MOST, Change, Tracker
from allocator.api.isolation import Eviction, Finding, Isolation
from allocator.kube.events import NORMAL, WARNING

GOOD = Verdict(uid="u", pod="team/worker", container="main")
BAD = replace(GOOD, state=Isolation.VIOLATED, kind="preload", reason="process 7 runs without the interposer")
DOUBT = replace(GOOD, state=Isolation.UNVERIFIED, kind="region", reason="not in the region")


def test_two_looks_have_to_agree() -> None:
    """One may fall into the moment in which a process starts."""
    tracker = Tracker()
    tracker.look([GOOD])
    assert tracker.look([BAD]) == []
    assert tracker.findings() == ()
    assert tracker.look([BAD]) == [Change(now=BAD, before=Isolation.ISOLATED)]
    assert tracker.findings() == (
        Finding(Isolation.VIOLATED, pod="team/worker", uid="u", container="main", reason=BAD.reason),
    )


def test_a_state_that_flickers_is_never_told() -> None:
    """Good, bad, good, bad."""
    tracker = Tracker()
    assert [tracker.look([one]) for one in (GOOD, BAD, DOUBT, BAD, GOOD, BAD)] == [[]] * 6
    assert tracker.findings() == ()


def test_what_was_told_stands_word_for_word() -> None:
    """A process id or a size that changes is not another finding; another kind is."""
    tracker = Tracker()
    for number in range(5):
        tracker.look([replace(BAD, reason=f"process {number}")])
    assert [one.reason for one in tracker.findings()] == ["process 1"]
    for _ in range(2):
        tracker.look([replace(BAD, kind="memory", reason="holds 5Gi")])
    assert [one.reason for one in tracker.findings()] == ["holds 5Gi"]


def test_an_end_is_told_once() -> None:
    """After two good looks."""
    tracker = Tracker()
    changes = [tracker.look([one]) for one in (BAD, BAD, GOOD, GOOD, GOOD)]
    assert [[change.now.state for change in one] for one in changes] == [
        [],
        [Isolation.VIOLATED],
        [],
        [Isolation.ISOLATED],
        [],
    ]
    assert tracker.findings() == ()


def test_a_container_that_is_gone_is_forgotten() -> None:
    """No line is left of it, and its successor begins anew."""
    tracker = Tracker()
    for _ in range(2):
        tracker.look([BAD])
    assert tracker.look([]) == []
    assert tracker.findings() == ()
    assert tracker.look([BAD]) == []


def test_a_new_agent_does_not_tell_again() -> None:
    """What the inventory says already is known."""
    tracker = Tracker()
    tracker.recall([Finding(Isolation.VIOLATED, pod="team/worker", uid="u", container="main", reason="as told")])
    assert tracker.look([BAD]) == []
    assert [one.reason for one in tracker.findings()] == ["as told"]
    assert [tracker.look([GOOD]), tracker.look([GOOD])][1][0].before is Isolation.VIOLATED


def test_eviction_is_asked_for_violators_with_a_grant_alone() -> None:
    """Where that is the policy; the leader knows no others. A pod is asked for once, whatever its containers do."""
    verdicts = [BAD, replace(BAD, container="side"), replace(BAD, uid="v", granted=False), replace(DOUBT, uid="w")]
    tracker, lenient = Tracker(evict=True), Tracker()
    for _ in range(2):
        tracker.look(verdicts)
        lenient.look(verdicts)
    assert tracker.evictions() == (Eviction(uid="u", pod="team/worker", reason=BAD.reason),)
    assert lenient.evictions() == ()


def test_the_inventory_stays_small() -> None:
    """However many violate, with however long reasons; violations come first."""
    tracker = Tracker()
    many = [replace(DOUBT, uid=f"d{at}", reason="x" * 5000) for at in range(MOST)] + [BAD]
    for _ in range(2):
        tracker.look(many)
    found = tracker.findings()
    assert len(found) == MOST
    assert found[0].state is Isolation.VIOLATED
    assert all(len(one.reason) <= LONGEST_REASON for one in found)


@given(looks=st.lists(st.lists(st.sampled_from([GOOD, BAD, DOUBT]), max_size=1), max_size=20))
def test_changes_add_up_to_what_is_told(looks: list[list[Verdict]]) -> None:
    """Whoever follows the changes knows the findings; no change repeats what was told last."""
    tracker, told = Tracker(), Isolation.ISOLATED
    for verdicts in looks:
        for change in tracker.look(verdicts):
            assert change.now.state is not told
            told = change.now.state
        if not verdicts:
            told = Isolation.ISOLATED
        state = tracker.state(("u", "main"))
        assert (state.state if state else Isolation.ISOLATED) is told


@pytest.mark.parametrize(
    ("now", "before", "reason", "level", "message"),
    [
        (BAD, Isolation.ISOLATED, "IsolationViolated", WARNING, f"container main: {BAD.reason}"),
        (DOUBT, None, "IsolationUnverified", WARNING, "container main: not in the region"),
        (GOOD, Isolation.VIOLATED, "IsolationRestored", NORMAL, "container main: isolated again"),
        (replace(BAD, container="-"), None, "IsolationViolated", WARNING, f"a container: {BAD.reason}"),
    ],
)
def test_the_pods_owner_reads_it(now: Verdict, before: Isolation | None, reason: str, level: str, message: str) -> None:
    """As an Event of the pod."""
    found = note(Change(now=now, before=before))
    assert found is not None
    assert (found.kind, found.namespace, found.name, found.uid) == ("Pod", "team", "worker", "u")
    assert (found.reason, found.level, found.message) == (reason, level, message)


def test_nobody_is_told_where_there_is_nobody_or_nothing() -> None:
    """A pod whose name is not known has no Events; a container that was isolated from the start needs none."""
    assert note(Change(now=replace(BAD, pod="-/u"), before=None)) is None
    assert note(Change(now=GOOD, before=None)) is None


def test_faults_that_take_turns_are_not_a_write_each() -> None:
    """What was told stands until two looks in a row find the other."""
    tracker = Tracker()
    said = []
    for kind in ("map", "map", "region", "map", "region", "map", "region", "region"):
        tracker.look([replace(DOUBT, kind=kind, reason=kind)])
        said.append([one.reason for one in tracker.findings()])
    assert said == [[], *[["map"]] * 6, ["region"]]
