"""Many replicas, many faults, one seed: whatever happens in whatever order, nothing is booked twice or lost.

The storms themselves are in tests/storm; they run in processes of their own, where a seed replays exactly.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from allocator.core.gang import Unit
from tests.storm.__main__ import HASH_SEED
from tests.storm.storm import storm
from tests.storm.tenancy import Tenancy

STORMS = int(os.environ.get("VRAMSHARE_STORMS", "200"))
"""More by VRAMSHARE_STORMS=5000."""
BATCH = 25
ROOT = Path(__file__).parents[3]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m tests.storm`."""
    environment = os.environ | {"PYTHONHASHSEED": HASH_SEED, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "tests.storm", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


PLAIN = STORMS - STORMS // 4
"""Of the storms those without tenants."""


def batches(count: int) -> list[str]:
    """The seeds up to this one, in ranges."""
    return [f"{first}-{min(first + BATCH, count) - 1}" for first in range(0, count, BATCH)]


@pytest.mark.parametrize("seeds", batches(PLAIN))
def test_no_storm_breaks_an_invariant(seeds):
    """No double booking at any moment, no grant of a living pod lost, none of a dead one kept, no pod forgotten."""
    done = run(seeds)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seeds", batches(STORMS - PLAIN))
def test_no_storm_among_tenants_breaks_an_invariant(seeds):
    """Nor is a group granted in part, a quota passed, a resize lost or half done, or anybody evicted without need."""
    done = run("--tenants", seeds)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [551, 1022, 4053])
def test_what_a_storm_once_found_stays_mended(seed):
    """Room kept for a pod that was deleted; a grant that its pod had taken, let go by a leader with an old picture."""
    done = run(seed)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("seed", [446, 2618, 2802])
def test_what_a_storm_among_tenants_once_found_stays_mended(seed):
    """Claims written into a ledger that was there all the time; a former leader's late word about a grant in use."""
    done = run("--tenants", seed)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("words", [[], ["--tenants"]])
def test_a_seed_replays_exactly(words):
    """What a failing seed did, it does again, in another process and after other seeds."""
    among_others = run(*words, "10-12", "--digests").stdout.splitlines()
    alone = run(*words, "12", "--digests").stdout.splitlines()
    digest = among_others[2]
    assert digest.startswith("12 ")
    assert digest in alone


def test_storms_see_what_breaks(monkeypatch):
    """The harness itself: without the last check before a write, replicas overbook, and it is seen."""
    monkeypatch.setattr("allocator.core.ledger._excess", lambda *_: "")
    assert any("grants for" in problem for seed in range(40) for problem in storm(seed).problems)


def half_a_group(pods, group, *, size, need):
    """A start that forgets all but one."""
    return Unit(members=(pods[0][0],), group=group, size=size)


@pytest.mark.parametrize(
    ("broken", "by", "sign"),
    [
        ("core.gang._start", half_a_group, "is let go with"),
        ("core.resize._agrees", lambda *_: True, "and its pod"),
        ("core.quota.Quota.excess", lambda *_: "", "its quota is"),
    ],
)
def test_storms_among_tenants_see_what_breaks(monkeypatch, broken, by, sign):
    """A group let go in part, a slice settled without the agent's word, a quota that holds nobody up."""
    monkeypatch.setattr(f"allocator.{broken}", by)
    assert any(sign in problem for seed in range(40) for problem in storm(seed, Tenancy).problems)
