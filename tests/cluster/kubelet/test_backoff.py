"""When a crashed container is started again."""

import pytest
from devcluster.kubelet.backoff import Backoff, in_words, restarts


def test_delays_double_up_to_five_minutes() -> None:
    """The first restart is immediate, then 10 s, doubling, and never more than five minutes."""
    state, delays = Backoff(), []
    for _ in range(9):
        state = state.ended(started=0, finished=1)
        delays.append(state.delay)
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_long_run_is_forgiven() -> None:
    """After ten minutes of running the delays start anew."""
    state = Backoff(delay=300).ended(started=0, finished=600)
    assert state.delay == 0


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 3, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policy(policy: str, code: int, *, expected: bool) -> None:
    """Always restarts everything, OnFailure what failed, Never nothing."""
    assert restarts(policy, code) is expected


@pytest.mark.parametrize(("seconds", "words"), [(10, "10s"), (80, "1m20s"), (300, "5m0s")])
def test_durations_read_as_in_go(seconds: int, words: str) -> None:
    """People search for these messages, so they read as a real kubelet's."""
    assert in_words(seconds) == words
