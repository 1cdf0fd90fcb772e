"""The agent's loop: nothing that surrounds it may end it."""

import asyncio
import threading
from typing import Any

import pytest

from allocator.agent.agent import ANEW, CHECK_EVERY, Agent, Duties, Pace
from allocator.agent.gpus import GpuError, OutsideError, Reading
from allocator.agent.report import NO_DRIVER, Report
from allocator.api.inventory import Gpu
from allocator.api.isolation import Finding, Isolation
from allocator.api.quantities import Memory
from allocator.kube.errors import UnreachableError
from tests.unit.agent.fakes import Attested, Board, FakeClock, Judge, Prepared, Script, Tables

READING = Reading(gpus=(Gpu(uuid="GPU-a", index=0, model="Tesla T4", memory=Memory.mib(16384)),), driver="570")


def made(
    source: Any,
    *,
    prepared: Prepared | None = None,
    board: Board,
    patience: float = 30.0,
    attested: Attested | None = None,
    judge: Judge | None = None,
    clock: FakeClock | None = None,
) -> Agent:
    """An agent among stand-ins."""
    return Agent(
        node="n1",
        source=source,
        duties=Duties(
            preparing=prepared or Prepared(),
            publishing=board,
            timetabling=Tables(),
            attesting=attested or Attested(),
            judging=judge or Judge(),
        ),
        clock=clock or FakeClock(),
        pace=Pace(patience=patience),
    )


async def test_says_that_it_lives_and_then_publishes() -> None:
    """The allocator never sees GPUs of a node that seems silent."""
    board = Board()
    await made(Script(READING), board=board).turn()
    assert board.order == ["beat", "publish"]
    assert board.published[0].usable


async def test_a_node_without_a_driver_costs_nothing_until_one_appears() -> None:
    """No object, no Lease; then both."""
    board = Board()
    agent = made(Script(None, None, READING), board=board)
    for _ in range(2):
        await agent.turn()
        await agent.beat()
    assert (board.published, board.beats) == ([], 0)
    await agent.turn()
    assert board.published[0].usable
    assert board.beats == 1


async def test_a_finding_is_published_at_once() -> None:
    """Not at the next turn; and it is announced only then."""
    finding = Finding(Isolation.VIOLATED, pod="team/a", uid="u", container="c", reason="no interposer")
    board, attested = Board(), Attested(finds=[Report(findings=(finding,), foreign={"GPU-a": Memory.mib(64)})])
    agent = made(Script(READING), board=board, attested=attested)
    await agent.attest()
    assert attested.looks == []
    await agent.turn()
    await agent.attest()
    assert board.published[-1].findings == (finding,)
    assert board.published[-1].gpus[0].foreign == Memory.mib(64)
    assert (len(board.published), attested.announced) == (2, 2)
    await agent.attest()
    assert len(board.published) == 2


async def test_what_could_not_be_published_is_not_announced() -> None:
    """Events follow the inventory; with the next turn both are out."""
    finding = Finding(Isolation.VIOLATED, pod="team/a", uid="u", container="c")
    board, attested = Board(), Attested(finds=[Report(findings=(finding,))])
    agent = made(Script(READING), board=board, attested=attested)
    await agent.turn()
    board.failures = [UnreachableError("no route")]
    with pytest.raises(UnreachableError):
        await agent.attest()
    assert attested.announced == 1
    await agent.turn()
    assert board.published[-1].findings == (finding,)
    assert attested.announced == 2


async def test_a_new_agent_goes_on_with_what_the_earlier_one_said() -> None:
    """What was told stays told, and is not told again."""
    earlier = Board()
    await made(Script(READING), board=earlier).turn()
    attested = Attested()
    await made(Script(READING), board=Board(earlier=earlier.published[0]), attested=attested).turn()
    assert attested.recalled == earlier.published[0]


async def test_a_sick_gpu_is_published_as_such() -> None:
    """And what an earlier agent said of it is known."""
    board, judge = Board(), Judge(sick="Xid 79")
    await made(Script(READING), board=board, judge=judge).turn()
    assert [gpu.health for gpu in board.published[0].gpus] == ["Xid 79"]
    later = Judge()
    await made(Script(READING), board=Board(earlier=board.published[0]), judge=later).turn()
    assert later.recalled == board.published[0]


async def test_a_driver_that_vanished_while_no_agent_ran_is_corrected() -> None:
    """What an earlier agent said must not stay true for ever."""
    earlier = Board()
    await made(Script(READING), board=earlier).turn()
    board = Board(earlier=earlier.published[0])
    await made(Script(None), board=board).turn()
    assert board.published[0].reason == NO_DRIVER


async def test_a_gpu_removed_while_no_agent_ran_is_forgotten() -> None:
    """A machine that was rebuilt does not carry its old GPUs for ever."""
    earlier = Board()
    await made(Script(READING), board=earlier).turn()
    other = Reading(gpus=(Gpu(uuid="GPU-b", index=0, model="Tesla T4", memory=Memory.mib(16384)),))
    board = Board(earlier=earlier.published[0])
    await made(Script(other), board=board).turn()
    assert [gpu.uuid for gpu in board.published[0].gpus] == ["GPU-b"]


async def test_a_failing_driver_stops_grants_and_recovery_resumes_them() -> None:
    """The reason stands in the inventory meanwhile."""
    board = Board()
    agent = made(Script(READING, GpuError("GPU is lost"), READING), board=board)
    for _ in range(3):
        await agent.turn()
    assert [one.usable for one in board.published] == [True, False, True]
    assert board.published[1].reason == "GPU is lost"


async def test_a_hung_driver_stops_grants_while_the_agent_goes_on_beating() -> None:
    """The agent lives; the GPUs do not answer. Two facts, told in two places."""
    go = threading.Event()

    class Hanging:
        def read(self) -> Reading | None:
            """Hang."""
            go.wait()
            return READING

    board = Board()
    agent = made(Hanging(), board=board, patience=0.0)
    await agent.turn()
    await agent.turn()
    assert all("does not answer" in one.reason for one in board.published)
    go.set()


async def test_prepares_once_and_again_after_a_loss() -> None:
    """The interposer is not installed at every turn, only where it is missing."""
    prepared = Prepared()
    agent = made(Script(READING), prepared=prepared, board=Board())
    await agent.turn()
    await agent.turn()
    assert prepared.calls == 1
    prepared.sound = False
    await agent.turn()
    assert prepared.calls == 2


async def test_a_failed_preparation_is_tried_again() -> None:
    """Somebody remounts the folder with exec: the node becomes usable by itself."""
    board = Board()
    agent = made(Script(READING), prepared=Prepared(reasons=["noexec", ""]), board=board)
    await agent.turn()
    await agent.turn()
    assert [one.reason for one in board.published] == ["noexec", ""]


async def test_looks_now_and_then_whether_its_words_still_stand() -> None:
    """An edited ConfigMap is noticed without a watch."""
    board = Board()
    agent = made(Script(READING), board=board)
    for _ in range(CHECK_EVERY + 1):
        await agent.turn()
    assert board.checks == 2


async def test_timetables_wait_until_the_node_is_prepared() -> None:
    """Nobody can read a table before the folder stands; one that cannot be written is tried again."""
    board = Board()
    tables = Tables(failures=[OSError(28, "No space left on device")])
    agent = Agent(
        node="n1",
        source=Script(READING),
        duties=Duties(
            preparing=Prepared(),
            publishing=board,
            timetabling=tables,
            attesting=Attested(),
            judging=Judge(),
        ),
        clock=FakeClock(),
        pace=Pace(),
    )
    await agent.timetable()
    assert tables.updates == 0
    await agent.turn()
    with pytest.raises(OSError, match="No space"):
        await agent.timetable()
    await agent.timetable()
    assert tables.updates == 1


async def test_nobody_is_watched_where_nobody_may_borrow() -> None:
    """Looking ten times a second is for nodes on which it matters."""
    tables = Tables()
    agent = Agent(
        node="n1",
        source=Script(READING),
        duties=Duties(
            preparing=Prepared(),
            publishing=Board(),
            timetabling=tables,
            attesting=Attested(),
            judging=Judge(),
        ),
        clock=FakeClock(),
        pace=Pace(),
    )
    await agent.lend()
    assert tables.looks == 0
    tables.lending = True
    await agent.lend()
    assert tables.looks == 1


@pytest.mark.parametrize("problem", [UnreachableError("no route"), RuntimeError("a bug")])
async def test_an_api_server_that_is_away_does_not_end_the_loop(problem: Exception) -> None:
    """A few failures later the inventory is out."""
    stop = asyncio.Event()
    board = Board(failures=[problem] * 3)
    agent = Agent(
        node="n1",
        source=Script(READING),
        duties=Duties(
            preparing=Prepared(),
            publishing=board,
            timetabling=Tables(),
            attesting=Attested(),
            judging=Judge(),
        ),
        clock=FakeClock(stop=stop, turns=2000),
        pace=Pace(),
    )
    await asyncio.wait_for(agent.run(stop), timeout=30)
    assert board.failures == []
    assert board.published
    assert board.beats > 1


async def test_stops_at_once_while_the_driver_hangs() -> None:
    """SIGTERM during a hung NVML call ends the agent."""
    go = threading.Event()
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Hanging:
        def read(self) -> Reading | None:
            """Hang."""
            loop.call_soon_threadsafe(started.set)
            go.wait()
            return None

    stop = asyncio.Event()
    running = asyncio.create_task(made(Hanging(), board=Board(), patience=3600.0).run(stop))
    await started.wait()
    stop.set()
    await asyncio.wait_for(running, timeout=30)
    go.set()


async def test_an_agent_ends_where_only_a_new_container_gets_the_driver() -> None:
    """Said in the inventory first; a driver in any other trouble is waited for."""
    board, clock, stop = Board(), FakeClock(), asyncio.Event()
    failures = [OutsideError("no library"), GpuError("NVML fails"), *[OutsideError("no library")] * 3, READING]
    agent = made(Script(*failures), board=board, clock=clock)
    agent._stop = stop
    seen = []
    for _ in failures:
        await agent.turn()
        seen.append(stop.is_set())
        clock.seconds += ANEW / 2
    assert seen == [False, False, False, False, True, True]
    assert board.published[0].reason == "no library"
    assert board.published[-1].usable
