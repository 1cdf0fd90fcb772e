"""The inventory's reports: who is not isolated, who is to be evicted, what was released."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.api.inventory import Gpu, Inventory
from allocator.api.isolation import Eviction, Finding, Isolation, evictions_of, findings_of, released_of
from allocator.api.quantities import Memory

INVENTORY = Inventory(node="n1", gpus=(Gpu(uuid="GPU-1", index=0, model="Tesla T4", memory=Memory.mib(15360)),))
FINDING = Finding(
    Isolation.VIOLATED, pod="team/worker", uid="u-1", container="main", reason="process 7 runs without the interposer"
)

words = st.text(st.characters(blacklist_categories=("Z", "C")), min_size=1, max_size=20)
sentences = st.lists(words, max_size=6).map(" ".join)
findings = st.builds(
    Finding,
    state=st.sampled_from([Isolation.UNVERIFIED, Isolation.VIOLATED]),
    pod=words,
    uid=words,
    container=words,
    reason=sentences,
)
evictions = st.builds(Eviction, uid=words, pod=words, reason=sentences)


def test_reports_are_readable() -> None:
    """`kubectl describe` shows a line per container, per pod and per allocation."""
    data = replace(
        INVENTORY,
        findings=(FINDING,),
        evictions=(Eviction(uid="u-1", pod="team/worker", reason="not isolated"),),
        released=frozenset({"b", "a"}),
    ).to_data()
    assert data["isolation"] == "violated team/worker u-1 main process 7 runs without the interposer\n"
    assert data["evict"] == "u-1 team/worker not isolated\n"
    assert data["released"] == "a\nb\n"


def test_nothing_to_report_adds_no_key() -> None:
    """A quiet node's inventory is as short as ever."""
    assert set(INVENTORY.to_data()) == {"node", "GPU-1"}


@given(
    found=st.lists(findings, max_size=5),
    wanted=st.lists(evictions, max_size=5),
    released=st.frozensets(words, max_size=5),
)
def test_reports_are_read_back(found: list[Finding], wanted: list[Eviction], released: frozenset[str]) -> None:
    """The leader sees what the agent saw."""
    said = replace(INVENTORY, findings=tuple(found), evictions=tuple(wanted), released=released)
    assert Inventory.from_data(said.to_data()) == said


@given(
    finding=st.builds(
        Finding, state=st.just(Isolation.VIOLATED), pod=st.text(), uid=st.text(), container=st.text(), reason=st.text()
    )
)
def test_no_name_forges_a_line(finding: Finding) -> None:
    """Whatever a tenant calls its process, one finding stays one finding of the same state."""
    (read,) = findings_of(finding.line() + "\n")
    assert read.state is Isolation.VIOLATED
    assert read.line() == finding.line()


@given(text=st.text())
def test_reports_never_make_an_inventory_unreadable(text: str) -> None:
    """They are reports: a damaged one costs no capacity."""
    data = INVENTORY.to_data() | {"isolation": text, "evict": text, "released": text}
    assert Inventory.from_data(data).gpus == INVENTORY.gpus


def test_unknown_keys_are_passed_over() -> None:
    """A newer agent may say more."""
    assert Inventory.from_data(INVENTORY.to_data() | {"weather": "fine"}) == INVENTORY


@pytest.mark.parametrize(
    "line", ["isolated team/worker u main", "doubtful team/worker u main why", "violated team/worker u", "", "violated"]
)
def test_lines_that_say_nothing_known(line: str) -> None:
    """They are passed over, and the lines around them are read."""
    assert findings_of(f"{line}\n{FINDING.line()}\n") == (FINDING,)


def test_short_and_strange_requests_are_passed_over() -> None:
    """An eviction needs a UID and a pod, a released allocation is one word."""
    assert evictions_of("u-1\n\nu-2 team/b\n") == (Eviction(uid="u-2", pod="team/b"),)
    assert released_of("a\n\n two words\n b \n") == {"a", "b"}
