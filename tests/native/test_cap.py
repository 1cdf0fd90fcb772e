"""GPU time held to its share, for every way to launch and whatever happens around it.

On a simulated GPU in real time: bounds are wide, because the machine may be busy. How exactly shares are held is
tested on virtual time (native/tests/unit/test_turn.c) and measured by scripts/bench-cap.
"""

import os
from pathlib import Path

import pytest

from allocator.agent.region import parse
from tests.native.loads import (
    MEMORY,
    NEAR,
    PHASES,
    SECONDS,
    contained,
    frees,
    launches,
    limits,
    percent,
    phase,
    run,
    settles,
    shared,
    start,
    table,
)
from tests.native.support import Container, Machine, numbers

WAYS = (
    "kernel",
    "kernel_ptsz",
    "ex",
    "ex_ptsz",
    "cooperative",
    "cooperative_ptsz",
    "graph",
    "graph_ptsz",
    "grid",
    "grid_async",
    "multi",
)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_launch_is_held(machine: Machine, way: str):
    """A saturating loop gets its share, whichever call it makes."""
    assert settles(shared(machine, "share", way, SECONDS, cores=30), 30)


@pytest.mark.parametrize("cores", [10, 60])
def test_the_share_is_the_one_asked_for(machine: Machine, cores: int):
    """Less for a small cap, more for a large one."""
    assert settles(shared(machine, "share", "kernel", SECONDS, cores=cores), cores)


def test_threads_share_one_budget(machine: Machine):
    """Four that launch into one stream have no more than one."""
    assert settles(shared(machine, "share", "kernel_ptsz", SECONDS, 4, cores=40), 40)


def test_several_streams_are_held_together(machine: Machine):
    """Their kernels may overlap; the time in which any runs stays in the windows."""
    alone = percent(machine.run(machine.command("turns", "share", "kernel", SECONDS, 4)))
    held = percent(run(machine, "share", "kernel", SECONDS, 4, cores=30))
    assert 0 < held <= alone * (30 + NEAR) / 100


def test_two_processes_share_one_budget(machine: Machine):
    """Together they have the container's share, and neither starves."""
    both = [start(machine, "share", "kernel", SECONDS, 1, PHASES, cores=40) for _ in range(2)]
    for one in both:
        one.report()

    def together() -> list[float]:
        shares = phase(*both)
        return [sum(shares) if min(shares) > 0 else 0]

    assert settles(together, 40)
    for one in both:
        one.kill()


def test_a_process_killed_in_its_turn_leaves_the_share(machine: Machine):
    """The others of its container go on with the whole of it."""
    dying = start(machine, "share", "kernel", 60, cores=40)
    staying = start(machine, "share", "kernel", SECONDS, 1, PHASES, cores=40)
    assert percent(staying.report()) < 40 + NEAR
    dying.kill()
    assert settles(lambda: phase(staying), 40)
    staying.kill()


def test_a_capture_is_neither_held_nor_broken(machine: Machine):
    """Captured launches wait for nothing and count for nothing, while marks are set for another thread's."""
    capturing = start(machine, "capture", 400, cores=5)
    assert numbers(capturing.report()) == {"nodes": 400}
    assert launches(machine.region) < 400
    capturing.finish()


def test_streams_may_end_with_work_under_way(machine: Machine):
    """Their last work is accounted for as well as it can be; the next stream is held all the same."""
    assert settles(shared(machine, "destroyed", SECONDS, cores=40), 40)


def test_contexts_may_come_and_go(machine: Machine):
    """What was known of a context ends with it; the next one is held."""
    assert settles(shared(machine, "recreated", SECONDS, cores=40), 40)


def test_pauses_do_not_count_as_work(machine: Machine):
    """Kernels of a millisecond stay such, whatever the program does in between: the cycle would grow with them."""
    running = start(machine, "pausing", 5, cores=60)
    assert numbers(running.report()) == {"done": 1}
    raw = machine.region.read_bytes()
    (gpu,) = parse(lambda size, offset: raw[offset : offset + size], size=len(raw)).gpus
    assert 0 < gpu.longest_unit < 20_000_000
    assert gpu.time_used < 200_000_000
    running.finish()


def test_a_forked_child_neither_hangs_nor_takes_part(machine: Machine):
    """It has no driver, says so, and ends; its parent goes on."""
    assert numbers(run(machine, "forked", cores=20)) == {"child": 0}


def test_kernels_may_wait_for_each_other(machine: Machine):
    """A kernel of an unknown kind that waits for one launched after it gets it: the gate opens by force."""
    assert numbers(run(machine, "pair", cores=20)) == {"together": 1}


def test_processes_may_wait_for_each_other(machine: Machine):
    """Launches of one process are not held until a long kernel of another one of the container is done."""
    waiting = start(machine, "lasting", cores=20)
    assert waiting.report() == "begun"
    awaited = numbers(run(machine, "few", 3, cores=20))["end"]
    assert awaited < numbers(waiting.finish())["end"]


def test_a_program_may_end_with_work_under_way(machine: Machine):
    """Nothing waits at exit, nothing crashes."""
    assert run(machine, "leave", cores=10) == ""


def test_without_a_cap_nothing_goes_through_the_gate(machine: Machine):
    """A slice of memory alone leaves launches as they are."""
    free = machine.start(machine.command("turns", "share", "kernel", SECONDS), memory=MEMORY)
    free.report()
    assert launches(machine.region) == 0
    free.finish()


# --- In a container, with a timetable -----------------------------------------------------------------------


def test_an_uncapped_neighbour_runs_in_the_rest(machine: Machine, container: Container):
    """Time that is promised to somebody is not its own, even while nobody uses it."""
    container.publish(table(a=70))
    load = contained(machine, container, cores=0, tenant="1/b")
    load.report()
    assert settles(lambda: phase(load), 30)
    load.kill()


def test_neighbours_have_their_shares(machine: Machine, tmp_path: Path):
    """Two busy containers on one GPU, 30 to 60."""
    loads = []
    for name, cores in (("a", 30), ("b", 60)):
        folder = tmp_path / name
        folder.mkdir()
        container = Container(folder, shared=tmp_path / "library")
        container.publish(table(a=30, b=60))
        loads.append(contained(machine, container, cores=cores, tenant=f"1/{name}"))
    for one in loads:
        one.report()
    assert settles(lambda: phase(*loads), 30, 60)
    for one in loads:
        one.kill()


def test_a_table_that_comes_changes_and_goes_is_followed(machine: Machine, container: Container):
    """By a program that runs all the while: free, held to the rest, to a smaller rest, free again."""
    (container.library / "gpus").mkdir(parents=True)
    load = contained(machine, container, cores=0, tenant="1/z")
    load.report()
    assert frees(lambda: phase(load))
    container.publish(table(a=40))
    assert settles(lambda: phase(load), 60)
    container.publish(table(a=75))
    assert settles(lambda: phase(load), 25)
    container.timetable.unlink()
    assert frees(lambda: phase(load))
    load.kill()


def test_a_changed_cap_is_followed(machine: Machine, container: Container):
    """A limits file that the kubelet has rewritten, without a table."""
    load = contained(machine, container, cores=20)
    load.report()
    assert settles(lambda: phase(load), 20)
    container.limit(limits(70, tenant="1/a"))
    assert settles(lambda: phase(load), 70)
    load.kill()


@pytest.mark.parametrize("kind", ["noise", "huge", "no window of ours", "folder", "pipe", "loop"])
def test_a_table_that_cannot_be_used_leaves_the_cap(machine: Machine, container: Container, kind: str):
    """The container then keeps time by itself; nothing hangs, nobody is uncapped."""
    container.publish("")
    file = container.timetable
    if kind == "noise":
        file.write_bytes(os.urandom(4000))
    elif kind == "huge":
        file.write_text(table(a=90) + "later 1\n" * 20_000)
    elif kind == "no window of ours":
        container.publish(table(b=90))
    else:
        file.unlink()
        {"folder": file.mkdir, "pipe": lambda: os.mkfifo(file), "loop": lambda: file.symlink_to(file)}[kind]()
    load = contained(machine, container, cores=30, tenant="1/x")
    load.report()
    assert settles(lambda: phase(load), 30)
    load.kill()
