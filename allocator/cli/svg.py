"""The map as an SVG file: for a report or a wall. Opens anywhere, needs nothing, is light or dark as its reader."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from allocator.api.quantities import Memory
from allocator.cli.bars import Space, printable
from allocator.core.picture import GpuPicture, NodePicture

COLUMN: Final = 460
_LABEL, _BAR, _ROW, _HEAD, _GAP = 150, 230, 22, 26, 14
COLOURS: Final = (
    "#1f5fa8",
    "#a33b20",
    "#2c6e49",
    "#7a3e9d",
    "#7d5200",
    "#0b6e75",
    "#b02a5b",
    "#4d5b6b",
    "#5b5f00",
    "#3d3d9e",
)
"""Each carries white letters at 4.5 to 1 or better, and stands out from both grounds."""
_STYLE: Final = """
svg { background: #fff; font: 12px system-ui, sans-serif; }
text { fill: #14181d; } .quiet { fill: #4a5560; } .problem { fill: #8f1d1d; } .rail { fill: #dfe4ea; }
.in { fill: #fff; font-weight: 600; text-anchor: middle; } .time { fill: #4a5560; } .others { fill: #59636e; }
@media (prefers-color-scheme: dark) {
svg { background: #101418; } text { fill: #e8edf2; } .quiet { fill: #aab5c0; } .problem { fill: #ffb4ab; }
.rail { fill: #2c353f; } .in { fill: #fff; } .time { fill: #aab5c0; } }
"""


def draw(nodes: Sequence[NodePicture], known: Sequence[Space], *, columns: int) -> str:
    """The whole map. Names are escaped by the writer; a pointer on a slice shows whose it is."""
    columns = max(1, min(columns, len(nodes)))
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", role="img")
    SubElement(root, "title").text = "GPUs and their slices"
    SubElement(root, "style").text = _STYLE
    bottom = _legend(root, known, columns=columns)
    depths = [bottom] * columns
    for node in nodes:
        at = depths.index(min(depths))
        depths[at] = _node(root, node, known, x=at * COLUMN, y=depths[at])
    width, height = columns * COLUMN, max(depths) + _GAP
    root.attrib |= {"viewBox": f"0 0 {width} {height}", "width": str(width), "height": str(height)}
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _legend(root: Element, known: Sequence[Space], *, columns: int) -> int:
    """The namespaces; where the map begins."""
    per_row = 2 * columns
    for at, space in enumerate(known):
        x, y = _GAP + at % per_row * COLUMN // 2, 10 + at // per_row * _ROW
        _box(root, x, y, 20, 16, fill=_colour(at))
        _text(root, x + 10, y + 12, space.letter, kind="in")
        _text(root, x + 26, y + 12, f"{_called(space.name)} {Memory(space.memory).rounded()}")
    return 10 + -(-len(known) // per_row) * _ROW + _GAP


def _node(root: Element, node: NodePicture, known: Sequence[Space], *, x: int, y: int) -> int:
    """One node; where the next may begin."""
    _text(root, x + _GAP, y + 16, node.name).set("font-weight", "600")
    if node.problem:
        _text(root, x + _GAP + 8 * len(node.name) + 8, y + 16, f"! {node.problem}", kind="problem")
    y += _HEAD
    for gpu in node.gpus:
        _gpu(root, gpu, known, x=x, y=y)
        y += _ROW
    return y + _GAP


def _gpu(root: Element, gpu: GpuPicture, known: Sequence[Space], *, x: int, y: int) -> None:
    """One GPU: label, bar, the line of its time, figures."""
    numbers = {space.name: at for at, space in enumerate(known)}
    _text(root, x + _GAP, y + 12, f"{gpu.index} {gpu.model}"[:19], kind="problem" if gpu.problem else "quiet")
    left = x + _LABEL + _GAP
    _box(root, left, y, _BAR, 15, kind="rail")
    whole = max(gpu.capacity, gpu.granted + gpu.foreign, 1)
    at = float(left)
    for one in gpu.held:
        size, number = _BAR * one.memory / whole, numbers[one.namespace]
        slot = _box(root, at, y, max(1.0, size - 1), 15, fill=_colour(number))
        words = f"{_called(one.namespace)}/{one.pod} {one.container}: {Memory(one.memory).rounded()}"
        SubElement(slot, "title").text = printable(words) + (f", {one.cores} % of the time" if one.cores else "")
        if size >= 12:
            _text(root, at + size / 2, y + 12, known[number].letter, kind="in")
        at += size
    if gpu.foreign:
        others = _box(root, at, y, max(1.0, _BAR * gpu.foreign / whole), 15, kind="others")
        SubElement(others, "title").text = f"held by others than vramshare's pods: {gpu.foreign >> 20} MiB"
    _box(root, left, y + 16, _BAR * min(100, gpu.cores) / 100, 2, kind="time")
    shown = f"! {gpu.problem}"[:12] if gpu.problem else f"{100 * gpu.granted // max(1, gpu.capacity)} %"
    _text(root, left + _BAR + 6, y + 12, shown, kind="problem" if gpu.problem else "quiet")


def _box(root: Element, x: float, y: float, width: float, height: float, *, kind: str = "", fill: str = "") -> Element:
    place = {"x": f"{x:g}", "y": f"{y:g}", "width": f"{width:.2f}", "height": f"{height:g}"}
    return SubElement(root, "rect", place | ({"class": kind} if kind else {"fill": fill}))


def _text(root: Element, x: float, y: float, text: str, *, kind: str = "") -> Element:
    made = SubElement(root, "text", {"x": f"{x:g}", "y": f"{y:g}"} | ({"class": kind} if kind else {}))
    made.text = printable(text)
    return made


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _called(namespace: str) -> str:
    return namespace or "(unreadable entry)"
