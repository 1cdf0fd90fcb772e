"""scripts/bench-ledger, with tiny numbers: it runs, and what it promises of grants holds."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def bench(*arguments: str) -> str:
    """What it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(ROOT / "scripts" / "bench_ledger.py"), *arguments],
        env=os.environ | {"PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_burst_is_placed_on_one_node_and_on_many():
    """Every pod has its grant, whichever of the replicas was asked."""
    found = bench("--pods", "12", "--nodes", "2", "--replicas", "2", "--namespaces", "2", "--concurrency", "6")
    assert re.findall(r"^burst on (\d+) nodes?: (\d+) of (\d+) pods placed", found, re.MULTILINE) == [
        ("1", "12", "12"),
        ("2", "12", "12"),
    ]


def test_a_killed_leader_is_followed_and_admission_goes_on():
    """The queue is served again, and no create fails for good meanwhile."""
    found = bench("--failover", "--pods", "2", "--replicas", "2", "--namespaces", "2")
    admitted, created = re.findall(r"meanwhile (\d+) of (\d+) creates admitted", found)[0]
    assert admitted == created
