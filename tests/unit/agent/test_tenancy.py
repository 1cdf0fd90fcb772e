"""Who holds a grant, by the ledger; and the timetable that follows it."""

from dataclasses import replace
from pathlib import Path

from allocator.agent.ceilings import Ceilings
from allocator.agent.tenancy import Ledger, LedgerView, tenants
from allocator.agent.turns import Timetables
from allocator.api.allocation import Slice
from allocator.api.quantities import GIB, Memory
from tests.unit.agent.scenes import GPU, LIMIT, OTHER, UID, container, grant, ledger


def test_entries_that_cannot_be_read_are_known_by_their_id() -> None:
    """Somebody holds something, and the others are read."""
    found = Ledger.from_data({"a": grant().to_text(), "b": "?"}, node="n1")
    assert found == ledger(grant(), unreadable=frozenset({"b"}))
    assert [one.uuid for one in found.slices()] == [GPU]


def test_the_ledger_is_what_the_watch_told_last() -> None:
    """Unknown before; none is an empty one; a deleted one stands until the allocator has written it anew."""
    view = LedgerView("n1")
    assert view.ledger is None
    view.replaced([])
    assert view.ledger == Ledger()
    view.applied({"data": {"a": grant().to_text()}})
    assert view.ledger == ledger(grant())
    view.removed({"data": {"a": grant().to_text()}})
    assert view.ledger == ledger(grant())
    view.replaced([{"metadata": {"name": "x"}}])
    assert view.ledger == Ledger()


def test_the_ledgers_slices_count() -> None:
    """Not those of a file in the pod's folder."""
    claimed = container(slices=(Slice(uuid=GPU, memory=Memory(99 * GIB), cores=100),))
    (mine,) = tenants(ledger(grant()), [claimed])
    assert [(one.memory.count, one.cores) for one in mine.slices] == [(LIMIT, 25)]


def test_who_is_no_tenant() -> None:
    """A pod that brings another's id, a container that the grant does not name, an id that the ledger does not know."""
    theirs = container(OTHER)
    side = container(name="side")
    unknown = container(tenant="z/main")
    nobody = container(tenant="")
    assert tenants(ledger(grant()), [theirs, side, unknown, nobody]) == []


def test_an_entry_that_cannot_be_read_takes_nobodys_place() -> None:
    """The kubelet's word stands in for it."""
    assert tenants(ledger(unreadable=frozenset({"a"})), [container()]) == [container()]


def timetables(folder: Path, found: list[object]) -> Timetables:
    """Timetables of what `found` says last."""
    (folder / "gpus").mkdir(exist_ok=True)
    return Timetables(host_dir=folder, look=lambda: found[-1], activity=lambda _: {}, now=lambda: 0)  # type: ignore[arg-type, return-value]


def test_a_pod_without_a_grant_gets_no_windows(tmp_path: Path) -> None:
    """Its volume may be named like ours; nobody waits for it."""
    forged = container(OTHER, tenant="z/main", slices=(Slice(uuid=GPU, memory=Memory(1), cores=90),))
    found: list[object] = [tenants(ledger(grant()), [container(), forged])]
    timetables(tmp_path, found).update()
    text = (tmp_path / "gpus" / GPU).read_text()
    assert "a/main" in text
    assert "z/main" not in text


def test_tables_stay_while_the_ledger_is_not_known(tmp_path: Path) -> None:
    """An agent that starts while the API server is away takes no running container its turn."""
    before = [container()]
    timetables(tmp_path, [before]).update()
    text = (tmp_path / "gpus" / GPU).read_text()
    found: list[object] = [None]
    later = timetables(tmp_path, found)
    later.update()
    assert (tmp_path / "gpus" / GPU).read_text() == text
    found.append([])
    later.update()
    assert list((tmp_path / "gpus").iterdir()) == []


def test_a_slice_made_smaller_is_remembered_while_more_is_held() -> None:
    """And forgotten as soon as use has fallen."""
    key = ((UID, "main"), GPU)
    ceilings = Ceilings()
    ceilings.look({UID: grant(memory=8 * GIB)}, {key: 6 * GIB})
    ceilings.look({UID: grant(memory=4 * GIB)}, {key: 6 * GIB})
    assert ceilings.highest == {key: 8 * GIB}
    ceilings.look({UID: grant(memory=4 * GIB)}, {key: 3 * GIB})
    assert ceilings.highest == {key: 4 * GIB}
    ceilings.look({}, {})
    assert ceilings.highest == {}


def test_a_new_agent_gives_a_changed_slice_the_benefit_of_the_doubt() -> None:
    """It cannot know what was allowed before; a slice that never changed gets none."""
    key = ((UID, "main"), GPU)
    changed, never = Ceilings(), Ceilings()
    changed.look({UID: grant(revision=1)}, {key: 6 * GIB})
    never.look({UID: grant()}, {key: 6 * GIB})
    assert (changed.highest, never.highest) == ({key: 6 * GIB}, {key: LIMIT})


def test_a_ceiling_does_not_rise_with_use() -> None:
    """Only what was once allowed counts."""
    key = ((UID, "main"), GPU)
    ceilings = Ceilings()
    for held in (5, 7, 9):
        ceilings.look({UID: replace(grant(), revision=0)}, {key: held * GIB})
    assert ceilings.highest == {key: LIMIT}
