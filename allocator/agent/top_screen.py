"""The screen of `vramshare top`: sums on top, then one of four lists, as many lines as fit. Pure: values to text.

Made to be cheap, because it stands open all day: only lines that can be seen are put together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Final

from rich.text import Text

from allocator.agent.top_rows import SORTS, UNKNOWN, Row, chosen
from allocator.api.quantities import Memory
from allocator.core.picture import GpuPicture, NodePicture, WaitingPicture

LISTS: Final = ("containers", "gpus", "nodes", "queue")
BAR: Final = 16
HINT: Final = "q quit  v list  s sort  r reverse  / filter  ↑↓ PgUp PgDn scroll"


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to show at one moment.

    Attributes:
        where: whose it is: a node's name, or how many nodes.
        rows: containers and their slices.
        nodes: GPUs by node; none where only this node's files are read.
        queue: who waits.
        remarks: what is missing, and why.
    """

    where: str
    rows: Sequence[Row]
    nodes: Sequence[NodePicture] = ()
    queue: Sequence[WaitingPicture] = ()
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """How somebody wants to see it.

    Attributes:
        what: which list.
        sort: order of containers, one of SORTS.
        backwards: the other way round.
        filter: words that must occur.
        typing: whether the filter is being written.
        first: lines scrolled over.
    """

    what: str = "containers"
    sort: str = "pod"
    backwards: bool = False
    filter: str = ""
    typing: bool = False
    first: int = 0

    def pressed(self, key: str, *, page: int) -> "Choice":
        """After a key; `page` is how many lines fit."""
        if self.typing:
            return self._typed(key)
        scroll = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -(10**9)}
        if key in scroll:
            return replace(self, first=max(0, self.first + scroll[key]))
        changes: dict[str, dict[str, Any]] = {
            "v": {"what": _after(LISTS, self.what), "first": 0},
            "s": {"sort": _after(tuple(SORTS), self.sort), "first": 0},
            "r": {"backwards": not self.backwards},
            "/": {"typing": True, "filter": "", "first": 0},
        }
        return replace(self, **changes.get(key, {}))

    def _typed(self, key: str) -> "Choice":
        if key in {"enter", "escape"}:
            return replace(self, typing=False, filter="" if key == "escape" else self.filter)
        if key == "backspace":
            return replace(self, filter=self.filter[:-1])
        return replace(self, filter=self.filter + key) if len(key) == 1 and key.isprintable() else self


def screen(shown: Shown, choice: Choice, *, width: int, height: int) -> list[Text]:
    """All lines of the screen, none longer than it is wide, no more than it is high."""
    words = choice.filter.split()
    heads = [*_sums(shown), *(Text(f"! {one}", style="yellow") for one in shown.remarks[:2])]
    status = _status(choice)
    room = max(1, height - len(heads) - 2)
    header, lines, total = _list(shown, choice, words, room)
    footer = Text(
        f"{status}   {min(choice.first + 1, total)}-{min(choice.first + room, total)} of {total}", style="dim"
    )
    found = [*heads, header, *lines, *[Text("")] * (room - len(lines)), footer]
    for line in found:
        line.truncate(width, overflow="ellipsis")
    return found[:height]


def _status(choice: Choice) -> str:
    if choice.typing:
        return f"filter: {choice.filter}▏ (Enter keeps, Esc drops)"
    order = f"by {choice.sort}{' reversed' * choice.backwards}"
    return f"{choice.what}, {order}{f', filter: {choice.filter}' if choice.filter else ''}   {HINT}"


def _list(shown: Shown, choice: Choice, words: Sequence[str], room: int) -> tuple[Text, list[Text], int]:
    """Header, the lines that can be seen, and how many there are."""
    if choice.what == "gpus":
        return _page(GPU_HEAD, gpu_lines(shown.nodes, _used(shown.rows), words), choice, room)
    if choice.what == "nodes":
        return _page(NODE_HEAD, node_lines(shown.nodes, words), choice, room)
    if choice.what == "queue":
        return _page(QUEUE_HEAD, queue_lines(shown.queue, words), choice, room)
    found = chosen(shown.rows, words=words, sort=choice.sort, backwards=choice.backwards)
    nodes = any(row.node for row in found)
    seen = list(islice(found, choice.first, choice.first + room))
    pods = max([len(row.pod) for row in seen], default=3)
    lines = [_row(row, pods=min(pods, 40), nodes=nodes) for row in seen]
    return _row_head(pods=min(pods, 40), nodes=nodes), lines, len(found)


GPU_HEAD: Final = f"{'NODE':20} {'GPU':>3} {'MODEL':22} {'GRANTED':{BAR + 2}} {'':>16} {'USED':>8} {'TIME':>5}  SLICES"
NODE_HEAD: Final = f"{'NODE':24} {'GPUS':>4} {'GRANTED':{BAR + 2}} {'':>18} {'SLICES':>6}  PROBLEM"
QUEUE_HEAD: Final = f"{'POD':36} {'PRIORITY':>8}  {'ASKS':24}  WHY"


def gpu_lines(nodes: Iterable[NodePicture], used: Mapping[str, int], words: Sequence[str]) -> Iterable[Text]:
    """A line per GPU."""
    for node in nodes:
        for gpu in node.gpus:
            if not _has(f"{node.name} {gpu.model} {gpu.uuid} {gpu.problem}", words):
                continue
            live = Memory(used[gpu.uuid]).rounded() if gpu.uuid in used else UNKNOWN
            line = Text(f"{_cut(node.name, 20)} {gpu.index:>3} {_cut(gpu.model, 22)} ")
            line.append_text(bar(gpu.granted, gpu.capacity))
            line.append(f" {_of(gpu):>16} {live:>8} {gpu.cores:>4}%  {len(gpu.held)}")
            if gpu.problem:
                line.append(f"  ! {gpu.problem}", style="red")
            yield line


def node_lines(nodes: Iterable[NodePicture], words: Sequence[str]) -> Iterable[Text]:
    """A line per node."""
    for node in nodes:
        if not _has(f"{node.name} {node.problem}", words):
            continue
        granted = sum(gpu.granted for gpu in node.gpus)
        capacity = sum(gpu.capacity for gpu in node.gpus)
        figures = f"{Memory(granted).rounded()}/{Memory(capacity).rounded()}"
        line = Text(f"{_cut(node.name, 24)} {len(node.gpus):>4} ")
        line.append_text(bar(granted, capacity))
        line.append(f" {figures:>18} {sum(len(gpu.held) for gpu in node.gpus):>6}  ")
        line.append(node.problem, style="red")
        yield line


def queue_lines(queue: Iterable[WaitingPicture], words: Sequence[str]) -> Iterable[Text]:
    """A line per pod that waits."""
    for one in queue:
        pod = f"{one.namespace}/{one.pod}"
        if _has(f"{pod} {one.reason}", words):
            yield Text(f"{_cut(pod, 36)} {one.priority:>8}  {_cut(one.asks, 24)}  {one.reason}")


def bar(part: int, whole: int, *, width: int = BAR) -> Text:
    """A bar, which is also told in characters: `[#####     ]`."""
    share = min(1.0, part / whole) if whole else 0.0
    full = round(share * width)
    style = "red" if share >= 0.95 else "yellow" if share >= 0.8 else "green"
    return Text.assemble("[", ("#" * full, style), " " * (width - full), "]")


def _sums(shown: Shown) -> list[Text]:
    limit, used = sum(row.limit for row in shown.rows), sum(row.used or 0 for row in shown.rows)
    pods = len({row.pod for row in shown.rows})
    line = Text.assemble(("vramshare top", "bold"), f"  {shown.where}  {pods} pod{'s' * (pods != 1)}")
    if shown.nodes:
        line.append(f", {len(shown.queue)} waiting")
    bars = Text("used of granted ")
    if any(row.used is not None for row in shown.rows):
        bars.append_text(bar(used, limit)).append(f" {Memory(used).rounded()}/{Memory(limit).rounded()}")
    else:
        bars.append(f"{UNKNOWN}/{Memory(limit).rounded()}")
    if shown.nodes:
        capacity = sum(gpu.capacity for node in shown.nodes for gpu in node.gpus)
        granted = sum(gpu.granted for node in shown.nodes for gpu in node.gpus)
        bars.append("   granted of all ").append_text(bar(granted, capacity))
        bars.append(f" {Memory(granted).rounded()}/{Memory(capacity).rounded()}")
    return [line, bars]


def _row_head(*, pods: int, nodes: bool) -> Text:
    node = f"{'NODE':14} " * nodes
    head = f"{node}{_cut('POD', pods)} {'CONTAINER':12} {'GPU':12} {'USED OF LIMIT':{BAR + 2}} {'':>15} {'PEAK':>7}"
    return Text(f"{head} {'REFUSED':>7}  {'TIME OF CAP':>12} {'WAIT':>5} {'DEBT':>8} PROC", style="reverse")


def _row(row: Row, *, pods: int, nodes: bool) -> Text:
    line = Text(f"{_cut(row.node, 14)} " * nodes + f"{_cut(row.pod, pods)} {_cut(row.container, 12)} ")
    if not row.gpu:
        return line.append(f"({row.problem})", style="red")
    line.append(f"{_cut(row.gpu[-12:], 12)} ")
    known = row.used is not None
    line.append_text(bar(row.used or 0, row.limit) if known else Text(" " * (BAR + 2)))
    amount = f"{Memory(row.used or 0).rounded() if known else UNKNOWN}/{Memory(row.limit).rounded()}"
    peak = UNKNOWN if row.peak is None else Memory(row.peak).rounded()
    line.append(f" {amount:>15} {peak:>7} ")
    line.append(f"{UNKNOWN if row.refused is None else row.refused:>7}", style="red" if row.refused else "")
    cap = f"{row.cap}%{'+' * row.burst}" if row.cap else "no cap"
    line.append(f"  {f'{_percent(row.time)}/{cap}':>12} {_percent(row.waited):>5} ")
    debt = UNKNOWN if row.debt is None else f"{row.debt * 1e3:.1f}ms"
    return line.append(f"{debt:>8} {UNKNOWN if row.processes is None else row.processes:>4}")


def _page(head: str, lines: Iterable[Text], choice: Choice, room: int) -> tuple[Text, list[Text], int]:
    found = list(lines)
    if choice.backwards:
        found.reverse()
    return Text(head, style="reverse"), found[choice.first : choice.first + room], len(found)


def _used(rows: Iterable[Row]) -> dict[str, int]:
    """Live use by GPU; GPUs of which nothing is known are left out."""
    found: dict[str, int] = {}
    for row in rows:
        if row.used is not None:
            found[row.gpu] = found.get(row.gpu, 0) + row.used
    return found


def _of(gpu: GpuPicture) -> str:
    return f"{Memory(gpu.granted).rounded()}/{Memory(gpu.capacity).rounded()}"


def _has(text: str, words: Sequence[str]) -> bool:
    folded = text.casefold()
    return all(word.casefold() in folded for word in words)


def _cut(text: str, width: int) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return f"{shown[: width - 1]}…" if len(shown) > width else shown.ljust(width)


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{int(value)}%"


def _after(names: Sequence[str], name: str) -> str:
    """The next in a round."""
    return next(islice(cycle(names), names.index(name) + 1, None))
