"""`vramshare map`: every GPU of the cluster as a bar with its slices, in the terminal or as SVG."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from allocator.api.quantities import Memory
from allocator.cli import reach, svg
from allocator.cli.bars import FREE, MANY, OTHERS, Space, bar, printable, spaces
from allocator.core.picture import GpuPicture, NodePicture, Picture

LABEL: Final = 20
FIGURES: Final = 26
_NARROWEST, _WIDEST = 10, 100
_PLAIN_WIDTH: Final = 100
"""Columns where there is no terminal to ask."""


class Map:
    """The subcommand."""

    help = "draw the cluster's GPUs as bars with their slices"
    examples = (
        ("vramshare map", "every GPU, a letter per namespace"),
        ("vramshare map node-1 l40s", "only what has these words: node, model, namespace or pod"),
        ("vramshare map --svg gpus.svg", "the same as a picture"),
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("words", nargs="*", help="only nodes with all these words: name, model, namespace or pod")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--svg", type=Path, metavar="FILE", help="write the map as SVG there; -: to standard output")
        how.add_argument("-o", "--output", choices=("text", "json"), default="text")
        parser.add_argument("--columns", type=int, default=3, help="of nodes in the SVG")
        parser.add_argument("--width", type=int, help="characters to draw in; default: the terminal's")
        reach.add_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Look at the cluster once, and draw."""
        found = asyncio.run(reach.see(args, what="map", now=datetime.now(UTC)))
        nodes = having(found.nodes, args.words)
        known = spaces(nodes)
        if args.svg:
            _write(args.svg, svg.draw(nodes, known, columns=args.columns))
        elif args.output == "json":
            sys.stdout.write(json.dumps(Picture(nodes, found.queue, found.models).to_json(), indent=2) + "\n")
        else:
            # rich leaves colours out where they are not wanted: off a terminal, and with NO_COLOR.
            console = Console(width=args.width or (None if sys.stdout.isatty() else _PLAIN_WIDTH), highlight=False)
            for line in lines(nodes, known, waiting=len(found.queue), width=console.width):
                console.print(line, soft_wrap=True)
        return 0


command: Final = Map()


def having(nodes: Iterable[NodePicture], words: Sequence[str]) -> tuple[NodePicture, ...]:
    """The nodes in which all these words occur."""
    return tuple(node for node in nodes if all(word.casefold() in _said(node) for word in words))


def lines(nodes: Sequence[NodePicture], known: Sequence[Space], *, waiting: int, width: int) -> Iterable[Text]:
    """The map, line by line, none wider than `width` where that is possible at all."""
    room = min(_WIDEST, max(_NARROWEST, width - LABEL - FIGURES))
    for node in nodes:
        yield Text.assemble(
            (printable(node.name), "bold"), (f"  ! {printable(node.problem)}" * bool(node.problem), "red")
        )
        for gpu in node.gpus:
            yield _line(gpu, known, room)
    if not nodes:
        yield Text("no GPUs: no node's agent has published any, or none has these words")
        return
    yield Text("")
    for at, space in enumerate(known):
        called = printable(space.name) or "(unreadable entries)"
        figures = f"{Memory(space.memory).rounded()} in {space.slices} slice{'s' * (space.slices != 1)}"
        yield Text.assemble((f" {space.letter} ", _look(at)), f" {called}  ", (figures, "dim"))
    signs = [f"{FREE} free", f"{OTHERS} held by others", "t percent of GPU time granted"]
    signs += [f"{MANY} further namespaces"] * (len(known) > 51)
    yield Text(f"{', '.join(signs)}; {waiting} pod{'s' * (waiting != 1)} waiting", style="dim")


def _line(gpu: GpuPicture, known: Sequence[Space], width: int) -> Text:
    label = f"  {gpu.index} {printable(gpu.model)}"
    text = Text(label[: LABEL - 1].ljust(LABEL))
    for run in bar(gpu, known, width=width):
        text.append(run.text, style=_look(run.space) if run.space is not None else "dim")
    used = f"{Memory(gpu.granted).rounded()}/{Memory(gpu.capacity).rounded()}"
    text.append(f" {used:>16} {100 * gpu.granted // max(1, gpu.capacity):>3}%")
    text.append(f" {gpu.cores:>3}t", style="dim")
    if gpu.problem:
        text.append(f" ! {printable(gpu.problem)}", style="red")
    return text


def _look(space: int) -> str:
    return f"bold white on {svg.COLOURS[space % len(svg.COLOURS)]}"


def _said(node: NodePicture) -> str:
    parts = [node.name, node.problem]
    for gpu in node.gpus:
        parts += [gpu.model, gpu.uuid, gpu.problem]
        parts += [f"{one.namespace}/{one.pod}" for one in gpu.held]
    return "\n".join(parts).casefold()


def _write(file: Path, text: str) -> None:
    if str(file) == "-":
        sys.stdout.write(text)
    else:
        file.write_text(text)
