"""Who is granted together."""

from allocator.api.group import Group
from allocator.core.gang import units
from allocator.core.queue import Waiting


def pod(name: str, *, priority: int = 0) -> Waiting:
    """A pod that waits."""
    return Waiting(uid=name, priority=priority, created=name, pod={"metadata": {"name": name, "namespace": "team"}})


def line(*entries: tuple[str, Group | None], admitted: int = 0) -> list[tuple[list[str], int]]:
    """The members and the missing of each unit."""
    found = units([(pod(name), group) for name, group in entries], lambda *_: admitted)
    return [([one.name for one in unit.members], unit.missing) for unit in found]


PAIR = Group("g", 2)


def test_pods_without_a_group_stand_alone():
    """In order."""
    assert line(("a", None), ("b", None)) == [(["a"], 0), (["b"], 0)]


def test_a_complete_group_takes_its_first_pods_place():
    """It stands where its oldest pod stands, whoever came in between."""
    assert line(("a", PAIR), ("b", None), ("c", PAIR)) == [(["a", "c"], 0), (["b"], 0)]


def test_an_incomplete_group_says_what_is_missing():
    """Nothing of it is granted yet."""
    [unit] = units([(pod("a"), Group("g", 3))], lambda *_: 0)
    assert unit.missing == 2
    assert unit.waits == "group g starts with 3 pods, and 1 of them are here"


def test_a_pod_that_replaces_another_of_its_group_is_granted_alone():
    """The others run on."""
    assert line(("a", PAIR), admitted=2) == [(["a"], 0)]


def test_a_group_interrupted_half_way_goes_on_with_the_rest():
    """One of two holds its grant already."""
    assert line(("b", PAIR), admitted=1) == [(["b"], 0)]


def test_a_group_that_lost_most_of_its_pods_starts_anew_together():
    """One of four lives: the three that replace the others are of use only together."""
    group = Group("g", 4)
    assert line(("b", group), ("c", group), ("d", group), admitted=1) == [(["b", "c", "d"], 0)]
    assert line(("b", group), ("c", group), admitted=1) == [(["b", "c"], 1)]


def test_pods_beyond_the_size_join_once_the_group_has_begun():
    """They hold nobody up, and are tried one by one afterwards."""
    entries = [("a", PAIR), ("b", PAIR), ("c", PAIR)]
    assert line(*entries) == [(["a", "b"], 0)]
    assert line(("c", PAIR), admitted=2) == [(["c"], 0)]


def test_pods_that_disagree_about_the_size_start_with_the_larger():
    """All or nothing is never less than what one of them asked for."""
    assert line(("a", Group("g", 2)), ("b", Group("g", 3))) == [(["a", "b"], 1)]


def test_groups_of_one_name_in_two_namespaces_are_two():
    """A name means something in its namespace alone."""
    other = Waiting(uid="b", priority=0, created="b", pod={"metadata": {"name": "b", "namespace": "other"}})
    found = units([(pod("a"), PAIR), (other, PAIR)], lambda *_: 0)
    assert [unit.missing for unit in found] == [1, 1]
