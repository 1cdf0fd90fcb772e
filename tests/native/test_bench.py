"""The benchmark of what the interposer costs runs and tells what it should."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.native.support import ROOT, Native, tool


def test_the_benchmark_prints_its_table(native: Native, tmp_path: Path):
    """One pair of each measurement gives a table with a plain and a capped figure, and the same as JSON."""
    raw = tmp_path / "bench.json"
    out = tool([sys.executable, str(ROOT / "scripts/bench-native"), "--pairs", "1", "--json", str(raw)])
    results = json.loads(raw.read_text())
    assert [line for line in out.splitlines() if line.startswith("| cuMemAlloc + cuMemFree")]
    assert len(out.splitlines()) == len(results) + 2
    assert all(result["plain"] > 0 and result["capped"] > 0 for result in results)


@pytest.mark.skipif(os.geteuid() != 0, reason="containers' views need root")
def test_a_changed_cap_is_traced(native: Native, tmp_path: Path):
    """The bench of the cap follows a share that changes while the program runs."""
    raw = tmp_path / "cap.json"
    words = ["--simulated", "--seconds", "1", "--rows", "step", "--budget", "0.1", "--json", str(raw)]
    tool([sys.executable, str(ROOT / "scripts/bench-cap"), *words])
    [row] = json.loads(raw.read_text())["rows"]
    assert row["share"] > row["before"] + 20
