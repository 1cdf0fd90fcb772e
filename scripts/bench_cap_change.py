"""The rows of scripts/bench-cap in which something changes while programs run: a share, or who has work to do."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench_cap_loads import LONGEST, MS, SLICE, Bench, Shape, ended, put

from allocator.agent.region import read_activity
from allocator.core.lending import Watch
from allocator.core.lending import lend as lent
from allocator.core.timetable import Tenant, Timetable, build

BIN = 50
"""Milliseconds for which launches are counted together."""
SETTLED = 10
"""Bins that must have the new share together before it counts as reached."""
NEAR = 5.0
"""Points by which they may be off."""
GRACE = 0.5
"""Seconds beside two cycles in which a change must hold."""
LOOK = 0.1
"""Seconds between the agent's looks at who is idle."""
OWNER, BORROWER = 70, 30


@dataclass(frozen=True)
class Trace:
    """What a load did over time: the second at which its first bin begins, and its share in percent in each."""

    start: float
    shares: Sequence[float]

    def mean(self, start: float, end: float) -> float:
        """Its share between two seconds of the clock."""
        first, last = (max(0, round((at - self.start) * 1000 / BIN)) for at in (start, end))
        part = self.shares[first:last]
        return sum(part) / max(1, len(part))

    def reached(self, share: float, since: float) -> float:
        """Milliseconds from `since` until a share is reached to stay; infinite if never."""
        first = max(0, round((since - self.start) * 1000 / BIN))
        for at in range(first, len(self.shares) - SETTLED):
            if abs(sum(self.shares[at : at + SETTLED]) / SETTLED - share) <= NEAR:
                return (at - first) * BIN
        return float("inf")


def step(bench: Bench, before: int, after: int) -> None:
    """A share that is changed, by its file and the node's timetable at once."""
    shape = Shape(MS, 1, "async")
    alone = bench.rate(shape, seconds=1.5)[0]
    half = max(2.0, bench.seconds / 3)
    name = "step/load"
    first, second = (_table(bench, {name: cores}, shape) for cores in (before, after))
    command = bench.view(
        name, _line(bench, name, before), first.to_text(), bench.command(shape, seconds=2 * half + 1, bins=BIN)
    )
    with _running(bench, command, shape) as process:
        time.sleep(half + 1)
        changed = time.monotonic()
        put(bench.folder / "step-load/allocation/allocation", _line(bench, name, after))
        put(bench.library / "gpus" / bench.uuid, second.to_text())
        trace, longest, processor = _trace(process, alone)
    held = changed + 2 * first.cycle / 1e9 + GRACE
    row: dict[str, object] = {"cap": after, "share": trace.mean(held, trace.start + 2 * half + 1)}
    row |= {"before": trace.mean(trace.start, changed), "bin_ms": BIN, "shares": list(trace.shares)}
    row |= {"changed_ms": 1000 * (changed - trace.start), "settled_ms": trace.reached(after, changed)}
    work = f"{shape}, {before} % before, there after {row['settled_ms']:.0f} ms"
    bench.add(kind="step", work=work, spread=0.0, longest_ms=longest, processor=processor, **row)


def lend(bench: Bench) -> None:
    """A burst tenant beside an owner that has nothing to do, and then has."""
    shape = Shape(MS, 1, "async")
    alone = bench.rate(shape, seconds=1.5)[0]
    part = max(3.0, bench.seconds / 3)
    names = {"lend/borrower": BORROWER, "lend/owner": OWNER}
    plain = _table(bench, names, shape)
    commands = {
        name: bench.view(
            name,
            _line(bench, name, cores, "policy=burst" if cores == BORROWER else ""),
            plain.to_text(),
            bench.command(shape, at=-1, seconds=3 * part if cores == BORROWER else part, bins=BIN),
        )
        for name, cores in names.items()
    }
    with _agent(bench, plain, names), _running(bench, commands["lend/borrower"], shape) as borrower:
        time.sleep(1.5 * part)
        with _running(bench, commands["lend/owner"], shape) as owner:
            back, longest, processor = _trace(owner, alone)
        loan, borrowed_longest, borrowed_processor = _trace(borrower, alone)
    bench.add(
        kind="lend",
        cap=BORROWER,
        share=loan.mean(back.start - part / 2, back.start - 0.2),
        spread=0.0,
        longest_ms=borrowed_longest,
        processor=borrowed_processor,
        work=f"{shape}, burst, beside {OWNER} % that are idle",
        bin_ms=BIN,
        shares=list(loan.shares),
    )
    returned = back.reached(OWNER, back.start)
    bench.add(
        kind="lend",
        cap=OWNER,
        share=back.mean(back.start + GRACE, back.start + part),
        spread=0.0,
        longest_ms=longest,
        processor=processor,
        work=f"{shape}, comes back beside {BORROWER} % burst, has its share after {returned:.0f} ms",
        bin_ms=BIN,
        shares=list(back.shares),
        settled_ms=returned,
    )


def _table(bench: Bench, cores: Mapping[str, int], shape: Shape) -> Timetable:
    tenants = [Tenant(name, {bench.uuid: share}) for name, share in cores.items()]
    return build(tenants, {bench.uuid: shape.unit})[bench.uuid]


def _line(bench: Bench, name: str, cores: int, more: str = "") -> str:
    return f"{bench.uuid} memory={SLICE} cores={cores} {more} tenant={name}\n"


@contextmanager
def _running(bench: Bench, command: Sequence[str], shape: Shape) -> Iterator["subprocess.Popen[str]"]:
    environment = bench.environment | {"FAKEGPU_KERNEL_NS": str(shape.kernel)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            yield process
        finally:
            process.kill()  # nobody waits for one that hangs


def _trace(process: "subprocess.Popen[str]", alone: float) -> tuple[Trace, float, float]:
    """What a load tells at its end: its trace, its longest launch in milliseconds, its processor use in percent."""
    summary, line = ended(process, LONGEST).splitlines()
    _, took, longest, processor = map(float, summary.split())
    start, *counts = line.split()
    shares = [100 * int(count) / (BIN / 1000) / alone for count in counts]
    return Trace(float(start), shares), longest, 100 * processor / took


@contextmanager
def _agent(bench: Bench, plain: Timetable, cores: Mapping[str, int]) -> Iterator[None]:
    """What the node's agent does about idle time, for the tenants of this bench."""
    tenants = [
        Tenant(name, {bench.uuid: share}, frozenset({bench.uuid} if share == BORROWER else ()))
        for name, share in cores.items()
    ]
    stop, watches = threading.Event(), dict.fromkeys(cores, Watch())

    def work() -> None:
        while not stop.wait(LOOK):
            now = time.monotonic_ns()
            for name, watch in watches.items():
                active = _active(bench, name)
                watches[name] = watch.look(now=now, active=active, cycle=plain.cycle)
            idle = {bench.uuid: {name for name, watch in watches.items() if watch.idle}}
            table = lent({bench.uuid: plain}, tenants, idle)[bench.uuid]
            put(bench.library / "gpus" / bench.uuid, table.to_text())

    agent = threading.Thread(target=work)
    agent.start()
    try:
        yield
    finally:
        stop.set()
        agent.join()


def _active(bench: Bench, name: str) -> int:
    """When a tenant last launched anything; 0: never."""
    folder = os.open(bench.folder / name.replace("/", "-") / "run", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_activity("region", folder=folder).get(bench.uuid, 0)
    except FileNotFoundError:
        return 0
    finally:
        os.close(folder)
