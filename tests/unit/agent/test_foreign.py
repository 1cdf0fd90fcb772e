"""Memory of others, as it goes into the inventory."""

from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.foreign import CALM, STEP, Foreign
from allocator.api.quantities import MIB, Memory


def test_rises_when_two_looks_agree() -> None:
    """A process that has just ended is not a write."""
    foreign = Foreign()
    assert foreign.look({"g": 10 * MIB}, now=0) == {}
    assert foreign.look({"g": 20 * MIB}, now=3) == {"g": Memory(STEP)}
    assert Foreign().look({"g": 10 * MIB}, now=0) == Foreign().look({}, now=3) == {}


def test_falls_after_a_while() -> None:
    """To the most that was seen meanwhile; nothing at all is no line."""
    foreign = Foreign()
    for now in (0, 3):
        foreign.look({"g": 5 * STEP}, now=now)
    assert foreign.look({"g": STEP}, now=6) == {"g": Memory(5 * STEP)}
    assert foreign.look({"g": 2 * STEP}, now=6 + CALM / 2) == {"g": Memory(5 * STEP)}
    assert foreign.look({"g": 1}, now=6 + CALM) == {"g": Memory(2 * STEP)}
    foreign.look({}, now=200)
    assert foreign.look({}, now=200 + CALM) == {}


def test_what_an_earlier_agent_told_stands_at_first() -> None:
    """Nobody is promised it while the new one looks."""
    foreign = Foreign()
    foreign.recall({"g": Memory(3 * STEP), "h": Memory(0)})
    assert foreign.look({}, now=0) == {"g": Memory(3 * STEP)}
    assert foreign.look({}, now=CALM) == {}


@given(looks=st.lists(st.tuples(st.integers(0, 20 * STEP), st.integers(0, 100)), min_size=2, max_size=30))
def test_never_less_than_two_looks_agree_on(looks: list[tuple[int, int]]) -> None:
    """What is there twice in a row is counted, in whole steps, and never more than was seen."""
    foreign, now, before, highest = Foreign(), 0.0, 0, 0
    for held, passed in looks:
        now += passed
        highest = max(highest, held)
        told = foreign.look({"g": held}, now=now).get("g", Memory(0)).count
        assert told >= min(before, held)
        assert told % STEP == 0
        assert told < highest + STEP
        before = held


@given(values=st.lists(st.integers(3 * STEP + 1, 4 * STEP), min_size=3, max_size=20))
def test_flutter_within_a_step_is_no_write(values: list[int]) -> None:
    """One figure, whatever it does in between."""
    foreign = Foreign()
    told = [foreign.look({"g": value}, now=at * 50.0) for at, value in enumerate(values)]
    assert {one["g"].count for one in told[1:]} == {4 * STEP}
