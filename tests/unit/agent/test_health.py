"""Which GPUs are sick, and when they are well again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.health import APPLICATION, QUIET, RESET, Health
from allocator.agent.report import GONE
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory

START = datetime(2026, 1, 1, tzinfo=UTC)
A, B = (Gpu(uuid=f"GPU-{name}", index=0, model="Tesla T4", memory=Memory.mib(15360)) for name in "ab")
NODE = Inventory(node="n1", gpus=(A, B))
MEMORY_ROW, BUS = 63, 79


def told(health: Health, *, after: timedelta = timedelta(0), action: str | None = None, gpu: Gpu = A) -> str:
    """What is said of the first GPU."""
    actions = {} if action is None else {gpu.uuid: action}
    return health.judge(Inventory(node="n1", gpus=(gpu, B)), actions, now=START + after).gpus[0].health


def sick(xid: int, health: Health | None = None) -> Health:
    """With an error on the first GPU."""
    health = health or Health()
    health.error(A.uuid, xid, at=START)
    return health


@pytest.mark.parametrize("xid", sorted(APPLICATION))
def test_errors_of_applications_say_nothing_about_the_gpu(xid: int) -> None:
    """A kernel that reads what is not its own takes no GPU out of service."""
    assert told(sick(xid)) == "ok"


def test_an_error_takes_one_gpu_out_of_service() -> None:
    """With number, time, meaning and what heals; the others go on."""
    judged = sick(MEMORY_ROW).judge(NODE, {}, now=START)
    assert judged.gpus[0].health == (
        "Xid 63 at 2026-01-01T00:00:00Z: a row of memory was remapped; in use again after 10 quiet minutes"
    )
    assert judged.gpus[1].healthy


def test_an_unknown_error_is_an_error() -> None:
    """NVIDIA adds new ones."""
    assert "Xid 999" in told(sick(999))
    assert told(sick(999, Health(ignored=APPLICATION | {999}))) == "ok"


def test_a_quiet_time_heals() -> None:
    """Counted from the latest error."""
    health = sick(MEMORY_ROW)
    health.error(A.uuid, MEMORY_ROW, at=START + timedelta(minutes=5))
    assert told(health, after=QUIET) != "ok"
    assert told(health, after=QUIET + timedelta(minutes=5)) == "ok"


@pytest.mark.parametrize("xid", sorted(RESET))
def test_what_needs_a_reset_is_not_healed_by_time(xid: int) -> None:
    """Nobody is promised memory of a GPU that fell off the bus yesterday."""
    assert "reset the GPU" in told(sick(xid), after=timedelta(days=1))


def test_a_gpu_that_was_gone_and_is_back_is_well() -> None:
    """It has been reset, or plugged in again."""
    health = sick(BUS)
    assert told(health, gpu=replace(A, health=GONE)) == GONE
    assert told(health) == "ok"


def test_an_error_after_the_return_counts_anew() -> None:
    """The reset did not help."""
    health = sick(BUS)
    told(health, gpu=replace(A, health=GONE))
    health.error(A.uuid, BUS, at=START + timedelta(minutes=1))
    assert "Xid 79" in told(health, after=timedelta(minutes=2))


def test_the_drivers_word_counts_most() -> None:
    """It knows whether a reset is due; where it asks for nothing any more, a quiet time is enough."""
    health = sick(BUS)
    assert told(health, after=QUIET, action="a reset of the GPU").endswith("the driver asks for: a reset of the GPU")
    assert told(health, after=QUIET, action="") == "ok"
    assert told(Health(), action="a restart of the node") == "the driver asks for: a restart of the node"


def test_a_graver_error_is_not_hidden_by_a_lesser_one() -> None:
    """Fallen off the bus, and then whatever follows from it."""
    health = sick(BUS)
    health.error(A.uuid, MEMORY_ROW, at=START + timedelta(seconds=1))
    assert "Xid 79" in told(health, after=timedelta(days=1))


def test_a_restart_of_the_agent_heals_nothing() -> None:
    """The next agent reads what the last one told; a restart of the node does."""
    before = sick(BUS).judge(NODE, {}, now=START)
    later, rebooted = Health(), Health()
    later.recall(before, booted=START - timedelta(days=1))
    rebooted.recall(before, booted=START + timedelta(seconds=1))
    assert "Xid 79" in told(later, after=timedelta(hours=1))
    assert told(rebooted, after=timedelta(hours=1)) == "ok"


def test_other_words_in_the_inventory_are_no_errors() -> None:
    """Of MIG, of a failing driver, of a date that is none."""
    health = Health()
    for text in ("MIG is enabled", "Xid many", "Xid 79 at 2026-99-99T00:00:00Z: x"):
        health.recall(Inventory(node="n1", gpus=(replace(A, health=text),)), booted=START)
    assert told(health) == "ok"


def test_a_clock_that_was_set_back_keeps_no_gpu_sick() -> None:
    """An error in the future is an old one."""
    assert told(sick(MEMORY_ROW), after=-timedelta(days=1)) == "ok"


@given(
    errors=st.lists(st.tuples(st.sampled_from([13, 63, 79, 48, 999]), st.integers(0, 10**6)), max_size=8),
    later=st.integers(0, 10**7),
)
def test_what_is_told_is_read_back_the_same(errors: list[tuple[int, int]], later: int) -> None:
    """Whatever happened: a new agent says of a GPU what the old one says."""
    health, heir = Health(), Health()
    for xid, second in errors:
        health.error(A.uuid, xid, at=START + timedelta(seconds=second))
    heir.recall(health.judge(NODE, {}, now=START + timedelta(seconds=later)), booted=START - timedelta(days=1))
    now = timedelta(seconds=later)
    assert told(heir, after=now) == told(health, after=now)
