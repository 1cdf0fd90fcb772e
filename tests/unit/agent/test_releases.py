"""A grant whose pod vanished: nothing of it is left, or somebody may be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.releases import KUBELET_PAUSE, Releases, Signs, releasing
from tests.unit.agent.scenes import EPOCH, GPU, OTHER, UID, grant

GONE = Signs(alive=frozenset({OTHER}))
WAITING = replace(grant(), releasing=EPOCH)


def test_nothing_left_for_two_looks() -> None:
    """One look may fall between the end of a process and the start of the next."""
    releases = Releases()
    assert releases.look([WAITING], GONE, now=0) == frozenset()
    assert releases.look([WAITING], GONE, now=3) == {"a"}
    assert releases.look([WAITING], GONE, now=6) == {"a"}
    assert releases.look([], GONE, now=9) == frozenset()


@pytest.mark.parametrize(
    "signs",
    [
        Signs(alive=frozenset({UID})),
        Signs(alive=frozenset(), doubtful=frozenset({"*"})),
        Signs(alive=frozenset(), doubtful=frozenset({GPU})),
    ],
    ids=["a process", "the driver does not answer", "memory of an unknown process"],
)
def test_something_may_be_left(signs: Signs) -> None:
    """However long it lasts; and the looks before it do not count."""
    releases = Releases()
    releases.look([WAITING], GONE, now=0)
    for now in (3, 10**6):
        assert releases.look([WAITING], signs, now=now) == frozenset()
    assert releases.look([WAITING], GONE, now=10**6 + 3) == frozenset()
    assert releases.look([WAITING], GONE, now=10**6 + 6) == {"a"}


def test_memory_of_unknown_processes_on_other_gpus_does_not_matter() -> None:
    """The grant is not there."""
    releases = Releases()
    signs = Signs(alive=frozenset(), doubtful=frozenset({"GPU-elsewhere"}))
    assert [releases.look([WAITING], signs, now=now) for now in (0, 3)][-1] == {"a"}


@pytest.mark.parametrize("folders", [frozenset({UID}), None], ids=["not cleaned up", "not to be seen"])
def test_a_folder_that_stands_may_start_containers_again(folders: frozenset[str] | None) -> None:
    """Until after the kubelet's longest pause between two tries."""
    releases = Releases()
    signs = Signs(alive=frozenset(), folders=folders)
    assert [releases.look([WAITING], signs, now=now) for now in (0, 3, KUBELET_PAUSE - 1)][-1] == frozenset()
    assert releases.look([WAITING], signs, now=KUBELET_PAUSE) == {"a"}


def test_only_grants_that_wait_are_looked_for() -> None:
    """One without a UID names no pod that could be found gone."""
    grants = {"a": WAITING, "b": grant(OTHER, name="b"), "c": replace(grant("", name="c"), releasing=EPOCH)}
    assert releasing(grants) == (WAITING,)


@given(looks=st.lists(st.sets(st.sampled_from([UID, OTHER])), max_size=12))
def test_a_living_process_is_never_called_gone(looks: list[set[str]]) -> None:
    """Whatever came before."""
    releases = Releases()
    for at, alive in enumerate(looks):
        free = releases.look([WAITING], Signs(alive=frozenset(alive)), now=at * 1000)
        assert not (free and UID in alive)
