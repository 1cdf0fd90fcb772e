"""The plots of docs/benchmarks.md, as SVG. Of nothing that was not measured."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from report_rows import Line

# The same figures make the same files: a change in a plot is a change in what was measured.
mpl.rcParams |= {
    "svg.hashsalt": "vramshare",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_WHITE: Final = {"facecolor": "white", "metadata": {"Date": None}, "bbox_inches": "tight"}
_MARKS: Final = "os^Dv"


def accuracy(lines: Sequence[Line], file: Path) -> bool:
    """Cap against what was had, by length of kernel."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line.values and line.what.endswith("1 block/SM, async"):
            groups.setdefault(line.what.partition(",")[0], []).append(line)
    if not groups:
        return False
    figure, axes = plt.subplots(figsize=(5.2, 3.8))
    axes.fill_between([0, 100], [-2, 98], [2, 102], color="0.85", label="aim: ± 2 points")
    axes.plot([0, 100], [0, 100], color="0.5", linewidth=1)
    for mark, (kernel, found) in zip(_MARKS, groups.items(), strict=False):
        axes.plot([one.cap for one in found], [one.median for one in found], mark, label=f"kernels of {kernel}")
    axes.set(xlim=(0, 85), ylim=(0, 85), xlabel="cap, % of GPU time", ylabel="had, % of the same work uncapped")
    return _save(figure, axes, file)


def steps(rows: Sequence[Mapping[str, Any]], file: Path) -> bool:
    """Share over time around a change."""
    if not rows:
        return False
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    for row in rows:
        times = [at * row["bin_ms"] - row["changed_ms"] for at in range(len(row["shares"]))]
        axes.plot(times, row["shares"], linewidth=1, label=f"to {row['cap']} %")
        axes.axhline(row["cap"], color="0.7", linewidth=0.8)
    axes.axvline(0, color="0.4", linestyle="--", linewidth=0.8)
    axes.set(xlabel="milliseconds since the change", ylabel="share, %", ylim=(0, 110))
    return _save(figure, axes, file)


def walls(lines: Sequence[Line], file: Path) -> bool:
    """What the device lost, per path, in percent of the slice."""
    measured = [line for line in lines if line.values]
    if not measured:
        return False
    figure, axes = plt.subplots(figsize=(6.4, 0.24 * len(measured) + 1))
    shares = [100 * max(line.values) / float(line.more[0]) for line in measured]
    colours = ["#a33b20" if share > 100 else "#1f5fa8" for share in shares]
    bars = axes.barh([line.what for line in measured], shares, color=colours)
    axes.bar_label(bars, [f"{share:.1f} %{' over' if share > 100 else ''}" for share in shares], padding=2, fontsize=7)
    axes.axvline(100, color="0.2", linewidth=1)
    axes.invert_yaxis()
    axes.set(xlabel="taken of the device at the first refusal, % of the slice", xlim=(0, 125))
    axes.tick_params(axis="y", labelsize=7)
    return _save(figure, axes, file, legend=False)


def overhead(lines: Sequence[Line], file: Path) -> bool:
    """Added nanoseconds per call against the aim."""
    measured = [line for line in lines if line.values and line.unit == "ns"]
    if not measured:
        return False
    figure, axes = plt.subplots(figsize=(6.4, 0.34 * len(measured) + 1))
    bars = axes.barh(
        [line.what for line in measured], [line.median for line in measured], color="#1f5fa8", label="added"
    )
    axes.bar_label(bars, [f"{line.median:.1f} ns" for line in measured], padding=3, fontsize=8)
    aims = [re.search(r"[\d.]+", line.aim) for line in measured]
    known = [(at, float(aim[0])) for at, aim in enumerate(aims) if aim]
    axes.plot([aim for _, aim in known], [at for at, _ in known], "|", color="#a33b20", markersize=14, label="aim")
    axes.invert_yaxis()
    axes.set(xlabel="nanoseconds that a call takes longer")
    return _save(figure, axes, file)


def _save(figure: Any, axes: Any, file: Path, *, legend: bool = True) -> bool:
    if legend:
        axes.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, **_WHITE)
    plt.close(figure)
    return True
