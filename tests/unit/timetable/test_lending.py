"""Lending what owners leave idle, and giving it back."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from allocator.core.lending import LEAST_PATIENCE, MOST_PATIENCE, MOST_WINDOWS, Watch, could_lend, lend
from allocator.core.spans import common, length_of
from allocator.core.timetable import MILLISECOND, SHORTEST_CYCLE, Tenant, build

A, B = "GPU-a", "GPU-b"
POLL = 100 * MILLISECOND
"""How often the agent looks; the interposer reads tables as often."""


def burst(name, **cores):
    """A tenant that may borrow wherever it is."""
    shares = {f"GPU-{gpu}": share for gpu, share in cores.items()}
    return Tenant(name, shares, frozenset(shares))


def lent(tenants, idle):
    """The table of GPU-a with these tenants idle there."""
    return lend(build(tenants, {}), tenants, {A: idle})[A]


def test_idle_windows_go_to_a_burst_tenant():
    """It has its own and the owner's; the owner keeps its windows."""
    tenants = [burst("1/a", a=30), Tenant("2/b", {A: 70})]
    table = lent(tenants, {"2/b"})
    assert length_of(table.windows["1/a"]) == SHORTEST_CYCLE
    assert table.windows["2/b"] == build(tenants, {})[A].windows["2/b"]


def test_a_hard_tenant_gets_no_more():
    """However idle the others are."""
    tenants = [Tenant("1/a", {A: 30}), Tenant("2/b", {A: 70})]
    assert lent(tenants, {"2/b"}) == build(tenants, {})[A]


def test_busy_owners_lend_nothing():
    """A table without idle tenants is the plain one."""
    tenants = [burst("1/a", a=30), burst("2/b", a=70)]
    assert lent(tenants, set()) == build(tenants, {})[A]


def test_borrowers_get_equal_parts():
    """Whatever their own shares are."""
    tenants = [burst("1/a", a=10), burst("2/b", a=30), Tenant("3/c", {A: 60})]
    plain, table = build(tenants, {})[A], lent(tenants, {"3/c"})
    more = [length_of(table.windows[name]) - length_of(plain.windows[name]) for name in ("1/a", "2/b")]
    assert more == [SHORTEST_CYCLE * 30 // 100] * 2


def test_an_idle_borrower_borrows_nothing():
    """All goes to the one that wants time."""
    tenants = [burst("1/a", a=10), burst("2/b", a=30), Tenant("3/c", {A: 60})]
    table = lent(tenants, {"2/b", "3/c"})
    assert length_of(table.windows["1/a"]) == SHORTEST_CYCLE


def test_tenants_without_a_share_borrow_too():
    """As a group they have a part for each of them, behind the rest that is theirs anyway."""
    tenants = [Tenant("1/a", {A: 60}), Tenant("2/b", {A: 0}), Tenant("3/c", {A: 0}), burst("4/d", a=10)]
    table = lent(tenants, {"1/a"})
    assert length_of(table.rest) == SHORTEST_CYCLE * (30 + 40) // 100
    assert length_of(table.windows["4/d"]) == SHORTEST_CYCLE * (10 + 20) // 100


def test_time_that_is_nobodys_needs_no_lender():
    """A burst tenant alone has the GPU."""
    assert length_of(lent([burst("1/a", a=25)], set()).windows["1/a"]) == SHORTEST_CYCLE


def test_the_rest_is_lent_only_while_those_without_a_share_are_idle():
    """It is what they live on."""
    tenants = [burst("1/a", a=25), Tenant("2/b", {A: 0})]
    assert length_of(lent(tenants, set()).windows["1/a"]) == SHORTEST_CYCLE // 4
    table = lent(tenants, {"2/b"})
    assert length_of(table.windows["1/a"]) == SHORTEST_CYCLE
    assert table.rest == build(tenants, {})[A].rest


def test_a_container_with_several_gpus_borrows_in_phase():
    """Only what is idle on all of them at once."""
    tenants = [burst("1/a", a=20, b=20), Tenant("2/b", {A: 80}), Tenant("3/c", {B: 80})]
    tables = lend(build(tenants, {}), tenants, {A: {"2/b"}})
    assert tables[A].windows["1/a"] == tables[B].windows["1/a"]
    tables = lend(build(tenants, {}), tenants, {A: {"2/b"}, B: {"3/c"}})
    assert length_of(tables[A].windows["1/a"]) == SHORTEST_CYCLE
    assert tables[A].windows["1/a"] == tables[B].windows["1/a"]


def test_who_could_lend():
    """It takes an owner and another who may borrow; else nobody need be watched."""
    assert could_lend([burst("1/a", a=30), Tenant("2/b", {A: 70})], A)
    assert could_lend([Tenant("1/a", {A: 0}), Tenant("2/b", {A: 70})], A)
    assert not could_lend([burst("1/a", a=30)], A)
    assert not could_lend([Tenant("1/a", {A: 30}), Tenant("2/b", {A: 70})], A)
    assert not could_lend([burst("1/a", a=30), Tenant("2/b", {B: 70})], A)


shares = st.dictionaries(st.sampled_from([A, B]), st.integers(0, 40), min_size=1)


@given(st.lists(st.tuples(shares, st.booleans(), st.booleans()), max_size=8))
def test_loans_take_nothing_from_anybody(drawn):
    """For any tenants: all keep what they had, busy ones overlap nobody busy, nobody has more windows than are read."""
    tenants = [
        Tenant(f"{at}/c", cores, frozenset(cores) if soft else frozenset()) for at, (cores, soft, _) in drawn_of(drawn)
    ]
    idle_names = {f"{at}/c" for at, (_, _, quiet) in drawn_of(drawn) if quiet}
    plain = build(tenants, {})
    tables = lend(plain, tenants, dict.fromkeys((A, B), idle_names))
    for uuid, table in tables.items():
        for one in tenants:
            before, after = plain[uuid].windows.get(one.name, ()), table.windows.get(one.name, ())
            assert length_of(common([before, after])) == length_of(before)
            assert len(after) <= MOST_WINDOWS
            if uuid not in one.burst or one.name in idle_names:
                assert after == before
        busy = [spans for name, spans in table.windows.items() if name not in idle_names]
        if any(one.cores.get(uuid) == 0 and one.name not in idle_names for one in tenants):
            busy.append(table.rest)
        together = sorted(span for spans in busy for span in spans)
        assert all(one[1] <= other[0] for one, other in pairwise(together))
        assert all(0 <= start < end <= table.cycle for start, end in together)


def drawn_of(drawn):
    """With numbers, leaving out those that would promise more than there is."""
    free = dict.fromkeys((A, B), 100)
    for at, one in enumerate(drawn):
        if all(free[uuid] >= share for uuid, share in one[0].items()):
            free = {uuid: left - one[0].get(uuid, 0) for uuid, left in free.items()}
            yield at, one


def test_an_owner_is_idle_after_a_quiet_while():
    """Not at once: a pause between two steps is no idleness."""
    watch = Watch()
    active = 10**12
    assert not watch.look(now=active + LEAST_PATIENCE - 1, active=active, cycle=SHORTEST_CYCLE).idle
    assert watch.look(now=active + LEAST_PATIENCE, active=active, cycle=SHORTEST_CYCLE).idle


def test_a_long_cycle_asks_for_more_patience():
    """Who waits for its window gives no sign of life for up to a cycle."""
    active, cycle = 10**12, 1000 * MILLISECOND
    assert not Watch().look(now=active + LEAST_PATIENCE, active=active, cycle=cycle).idle
    assert Watch().look(now=active + 2 * cycle, active=active, cycle=cycle).idle


def test_who_never_launched_is_idle():
    """A container that only sits there."""
    assert Watch().look(now=10**12, active=0, cycle=SHORTEST_CYCLE).idle


def test_work_in_bursts_settles_to_no_loans():
    """A tenant that works a little every two seconds has its time lent a few times, then keeps it."""
    watch, changes, active, now = Watch(), [], 10**12, 10**12
    for _ in range(600):
        now += POLL
        if now - active >= 20 * POLL:
            active = now
        before, watch = watch, watch.look(now=now, active=active, cycle=SHORTEST_CYCLE)
        changes += [now] * (before.idle != watch.idle)
    assert len(changes) <= 4
    assert changes[-1] < 10**12 + 100 * POLL


def test_patience_returns_to_normal():
    """A loan that lasted shows that one may lend; patience never grows past its bound."""
    watch = Watch(idle=True, since=10**12, patience=MOST_PATIENCE)
    assert watch.look(now=10**12 + POLL, active=10**12 + 1, cycle=1).patience == MOST_PATIENCE
    late = 10**12 + 100 * MOST_PATIENCE
    assert watch.look(now=late, active=late - 1, cycle=1) == Watch()


def test_a_loan_is_back_within_half_a_second_of_demand():
    """Wherever between two looks the owner wakes up, with the agent's and the interposer's pace added up."""
    tenants = [burst("1/a", a=30), Tenant("2/b", {A: 70})]
    plain = build(tenants, {})
    for phase in range(0, POLL, POLL // 20):
        start = 10**12
        demand = start + 50 * POLL + phase
        watch, now, back = Watch(), start, None
        while back is None:
            now += POLL
            active = demand if demand <= now else start
            watch = watch.look(now=now, active=active, cycle=SHORTEST_CYCLE)
            table = lend(plain, tenants, {A: {"2/b"} if watch.idle else set()})[A]
            if now >= start + 20 * POLL and now < demand:
                assert length_of(table.windows["1/a"]) == SHORTEST_CYCLE
            if now >= demand and table == plain[A]:
                back = now + POLL
        assert back - demand <= 500 * MILLISECOND
