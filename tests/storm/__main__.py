"""Run storms: `PYTHONHASHSEED=0 python -m tests.storm 0-999`. One seed prints what happened in it."""

import argparse
import sys
import time

from tests.storm.storm import storm


def say(*lines: str) -> None:
    """Print at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> int:
    """Run them, and say which failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", help="one seed, or FIRST-LAST")
    parser.add_argument("--most", type=int, default=5, help="stop after so many failures")
    parser.add_argument("--digests", action="store_true", help="print the digest of every storm's trace")
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    failed, grants, writes, started = 0, 0, 0, time.perf_counter()
    for seed in seeds:
        outcome = storm(seed, whole=len(seeds) == 1)
        grants, writes = grants + outcome.grants, writes + outcome.writes
        if len(seeds) == 1:
            say(*outcome.tail)
        if chosen.digests:
            say(f"{seed} {outcome.digest}")
        if outcome.problems:
            failed += 1
            say(f"seed {seed}: {outcome.problems[0]}")
            if failed >= chosen.most:
                break
    seconds = time.perf_counter() - started
    say(f"{len(seeds)} storms, {failed} failed; {grants} grants, {writes} ledger writes; {seconds:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
