"""The benchmark report: only what was measured, what is missing said so, and the page in docs in step with its runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_report import STORE, added, main, publish
from report_page import MISSING
from report_rows import cap_lines, e2e_lines, free_lines, path_lines, step_lines
from report_store import Entry, read, write

ROW = {"kind": "cap", "work": "1 ms, 1 block/SM, async", "cap": 25, "share": 24.0, "spread": 0.1, "longest_ms": 30.0}
RUN = Entry(tool="cap", at="2026-01-01", commit="abc", machine="a GPU", command="x", data={"rows": [ROW]})


def again(**changes: Any) -> Entry:
    """The run once more, with another figure."""
    return replace(RUN, data={"rows": [{**ROW, **changes}]})


def line_of(entries: list[Entry]) -> Any:
    """The line of the row above."""
    (found,) = (one for one in cap_lines(entries) if (one.what, one.cap) == (ROW["work"], 25))
    return found


def test_runs_of_one_row_make_its_median_and_spread() -> None:
    """Over all of them."""
    line = line_of([RUN, again(share=25.5), again(share=24.5)])
    assert (line.median, line.spread, line.values) == (24.5, 1.5, (24.0, 25.5, 24.5))


def test_what_nobody_measured_is_missing() -> None:
    """Every row that the benchmark could have stands there all the same."""
    lines = cap_lines([RUN])
    assert len(lines) > 30
    assert [line.what for line in lines if line.values] == [ROW["work"]]
    assert [line.values for line in step_lines([RUN])] == [(), ()]


def test_a_run_with_no_cap_counts() -> None:
    """The benchmark writes `none` there, and tenants without a share have 0."""
    entry = replace(RUN, data={"rows": [{**ROW, "kind": "free", "work": f"{ROW['work']}, no cap", "cap": "none"}]})
    assert [line.values for line in free_lines([entry])] == [(), (24.0,)]


def test_a_path_without_a_wall_is_no_row() -> None:
    """It was run to see that the path takes memory at all, and says nothing of a wall."""
    walled = {"name": "x", "slice": 1 << 30, "used": 1 << 20, "problem": ""}
    found = path_lines([replace(RUN, tool="paths", data=[walled, {**walled, "name": "x, no wall", "slice": 0}])], ["y"])
    assert [(line.what, line.values) for line in found] == [("x", (1.0,)), ("y", ())]


def test_a_story_that_stopped_early_gives_what_it_has() -> None:
    """And no more."""
    run = {"share": {}, "rates": {"with pauses": {"worker-a": 1.0}}}
    assert all(not line.values for line in e2e_lines([replace(RUN, tool="e2e", data=run)]))


def test_a_benchmark_that_fails_takes_nothing_from_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after it is measured, what was measured is kept, and the end says which failed."""
    good = tmp_path / "good"
    good.write_text('#!/bin/sh\necho "[]" >"$2"\n')
    good.chmod(0o755)
    monkeypatch.setattr("bench_report.COMMANDS", {"idle": ("false",), "top": (str(good),)})
    arguments = ["--run", "idle,top", "--store", str(tmp_path / "runs.json"), "--out", str(tmp_path / "page.md")]
    monkeypatch.setattr("sys.argv", ["bench-report", *arguments])
    monkeypatch.setattr("bench_report.publish", lambda *_: None)
    with pytest.raises(SystemExit, match="not measured: idle"):
        main()
    assert [entry.tool for entry in read(tmp_path / "runs.json")] == ["top"]


def test_simulated_runs_are_in_no_table() -> None:
    """Their figures say nothing about a GPU."""
    assert line_of([replace(RUN, simulated=True)]).values == ()


def test_the_page_marks_what_is_missing_and_names_every_run(tmp_path: Path) -> None:
    """Plots as well."""
    publish([RUN], tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| 1 ms, 1 block/SM, async | 25 % | 24.0 % |  | 1 | cap ± 2 points | 30.0 |" in text
    assert f"Plot of shares around a change: {MISSING}." in text
    assert "| cap | 2026-01-01 | abc | a GPU |" in text
    assert [file.name for file in (tmp_path / "page").iterdir()] == ["accuracy.svg"]


def test_runs_survive_being_kept(tmp_path: Path) -> None:
    """As they were."""
    write(tmp_path / "runs.json", [RUN, again(share=1.5)])
    assert read(tmp_path / "runs.json") == [RUN, again(share=1.5)]


def test_a_simulated_run_is_known_when_it_is_taken_over(tmp_path: Path) -> None:
    """By what the benchmark wrote into it."""
    (tmp_path / "cap.json").write_text('{"machine": "simulated", "rows": []}')

    class Options:
        machine, commit, at, note = "m", "c", "", ""

    assert added(f"cap={tmp_path / 'cap.json'}", Options).simulated
    with pytest.raises(SystemExit, match="TOOL=FILE"):
        added("nonsense", Options)


def test_the_page_in_docs_is_what_its_runs_say(tmp_path: Path) -> None:
    """Nobody edited it, and nobody forgot to write it anew."""
    publish(read(STORE), tmp_path / "benchmarks.md")
    assert (tmp_path / "benchmarks.md").read_text() == STORE.with_suffix(".md").read_text()
