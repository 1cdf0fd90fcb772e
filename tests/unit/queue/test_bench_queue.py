"""The benchmark of the queue runs, on a small cluster."""

import sys

import bench_queue
import pytest


def test_it_measures_all_three_cases(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Nobody waits, all wait in vain, many could be placed."""
    monkeypatch.setattr(sys, "argv", ["bench-queue", "--nodes", "20", "--waiting", "40", "--kinds", "3"])
    bench_queue.main()
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if "pods wait:" in line] == [
        "20 nodes, 0 pods wait: nobody waits",
        "20 nodes, 40 pods wait: all wait for room that is not there",
        "20 nodes, 40 pods wait: there is room for many of them",
    ]
    assert shown.count("a newcomer after a change") == 3
