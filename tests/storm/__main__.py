"""Run storms: `PYTHONHASHSEED=0 PYTHONPATH=.:scripts .venv/bin/python -m tests.storm 0-999`.

One seed alone prints all that happened in it. Sets of words have an order of their own in every process unless
PYTHONHASHSEED says which: only with the same one does a seed replay exactly.
"""

import argparse
import gc
import os
import sys
import time

from tests.storm.storm import Storm, storm
from tests.storm.tenancy import Tenancy

HASH_SEED = "0"
REPLAY = f"replay: PYTHONHASHSEED={HASH_SEED} PYTHONPATH=.:scripts .venv/bin/python -m tests.storm {{words}}{{seed}}"


def say(*lines: str) -> None:
    """Print at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> int:
    """Run them, and say which failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", help="one seed, or FIRST-LAST")
    parser.add_argument("--tenants", action="store_true", help="with groups, resizes, quotas and preemption as well")
    parser.add_argument("--most", type=int, default=5, help="stop after so many failures")
    parser.add_argument("--digests", action="store_true", help="print the digest of every storm's trace")
    chosen = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        parser.error(f"set PYTHONHASHSEED={HASH_SEED}: without it no seed replays")
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    words = "--tenants " if chosen.tenants else ""
    failed, grants, writes, started = 0, 0, 0, time.perf_counter()
    for seed in seeds:
        if seed % 50 == 0:
            gc.collect()  # by itself it comes too rarely, for what an allocator froze looks long-lived to it
        outcome = storm(seed, Tenancy if chosen.tenants else Storm, whole=len(seeds) == 1)
        grants, writes = grants + outcome.grants, writes + outcome.writes
        if len(seeds) == 1:
            say(*outcome.tail)
        if chosen.digests:
            say(f"{seed} {outcome.digest}")
        if outcome.problems:
            failed += 1
            say(*(f"seed {seed}: {problem}" for problem in outcome.problems), REPLAY.format(words=words, seed=seed))
            if failed >= chosen.most:
                break
    seconds = time.perf_counter() - started
    say(f"{len(seeds)} storms, {failed} failed; {grants} grants, {writes} ledger writes; {seconds:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
