"""The timetable: shares become windows."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from allocator.core.timetable import LEAST_REST, MILLISECOND, SHORTEST_CYCLE, Tenant, build, cycle_for

A, B, C = "GPU-a", "GPU-b", "GPU-c"


def length(spans):
    """Their time together."""
    return sum(end - start for start, end in spans)


def test_a_share_is_that_part_of_the_cycle():
    """25 and 40 percent are 10 and 16 of 40 ms, and the rest is what is left."""
    table = build([Tenant("1/a", {A: 25}), Tenant("2/b", {A: 40})], {})[A]
    assert table.cycle == SHORTEST_CYCLE
    assert length(table.windows["1/a"]) == 10 * MILLISECOND
    assert length(table.windows["2/b"]) == 16 * MILLISECOND
    assert length(table.rest) == 14 * MILLISECOND


def test_nobody_waits_where_nobody_has_a_share():
    """A GPU with uncapped tenants alone has no table."""
    assert build([Tenant("1/a", {A: 0}), Tenant("2/b", {B: 10})], {}).keys() == {B}


def test_long_units_make_long_cycles():
    """The cycle holds twenty of the longest unit, up to a second."""
    assert cycle_for(0) == 40 * MILLISECOND
    assert cycle_for(5 * MILLISECOND) == 160 * MILLISECOND
    assert cycle_for(50 * MILLISECOND) == 1000 * MILLISECOND
    assert cycle_for(5000 * MILLISECOND) == 1000 * MILLISECOND


def test_uncapped_tenants_are_never_locked_out():
    """Where all time is promised, those without a share still have a little together."""
    table = build([Tenant("1/a", {A: 60}), Tenant("2/b", {A: 40}), Tenant("3/c", {A: 0})], {})[A]
    assert length(table.rest) * 100 >= LEAST_REST * table.cycle
    assert length(table.windows["1/a"]) * 100 > 58 * table.cycle


def test_a_container_with_several_gpus_has_its_turns_in_phase():
    """Its windows open and close on all its GPUs at once, whoever else is there."""
    tables = build([Tenant("1/a", {A: 30}), Tenant("2/b", {B: 50}), Tenant("9/z", {A: 40, B: 40})], {})
    assert tables[A].windows["9/z"] == tables[B].windows["9/z"]
    assert tables[A].cycle == tables[B].cycle


def test_the_text_is_what_the_interposer_reads():
    """One line per window: name, start, length."""
    table = build([Tenant("1/a", {A: 25})], {})[A]
    assert table.to_text() == ("format 1\nepoch 0\ncycle 40000000\nwindow 1/a 0 10000000\nrest 10000000 30000000\n")


shares = st.dictionaries(st.sampled_from([A, B, C]), st.integers(0, 100), min_size=1)


@given(st.lists(shares, max_size=8), st.dictionaries(st.sampled_from([A, B, C]), st.integers(0, 10**9)))
def test_windows_never_overlap_and_keep_their_promise(asked, units):
    """For any tenants that the ledger admits: disjoint windows within the cycle, each as long as promised."""
    tenants, free = [], dict.fromkeys((A, B, C), 100)
    for number, cores in enumerate(asked):
        if all(free[uuid] >= share for uuid, share in cores.items()):
            tenants.append(Tenant(f"{number}/c", cores))
            for uuid, share in cores.items():
                free[uuid] -= share
    tables = build(tenants, units)
    for uuid, table in tables.items():
        spans = sorted([*table.rest, *(span for spans in table.windows.values() for span in spans)])
        assert all(0 <= start < end <= table.cycle for start, end in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        uncapped = any(one.cores.get(uuid) == 0 for one in tenants)
        for one in tenants:
            if one.cores.get(uuid):
                promised = table.cycle * one.cores[uuid] // 100
                least = promised * (100 - LEAST_REST - 1) // 100 if uncapped else promised
                assert least <= length(table.windows[one.name]) <= promised
