"""A GPU as a bar of text: a letter per namespace, a border between slices. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Final

from allocator.core.picture import GpuPicture, NodePicture

FREE: Final = "."
OTHERS: Final = "x"
MANY: Final = "#"
"""The letter of every namespace for which the alphabet is too short."""
_LETTERS: Final = ascii_letters.replace(OTHERS, "")


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of a bar.

    Attributes:
        text: its characters.
        space: the namespace's position among those drawn; None: free, or held by others.
    """

    text: str
    space: int | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """A namespace in the legend.

    Attributes:
        name: the namespace.
        letter: what stands for it.
        memory: bytes granted to it.
        slices: how many.
    """

    name: str
    letter: str
    memory: int
    slices: int


def printable(text: str) -> str:
    """A name that others chose, fit for a terminal and for XML."""
    return "".join(char if char.isprintable() else "?" for char in text)


def spaces(nodes: Iterable[NodePicture]) -> list[Space]:
    """The namespaces that hold slices, most memory first; letters follow that order."""
    memory: dict[str, int] = {}
    slices: dict[str, int] = {}
    for one in (held for node in nodes for gpu in node.gpus for held in gpu.held):
        memory[one.namespace] = memory.get(one.namespace, 0) + one.memory
        slices[one.namespace] = slices.get(one.namespace, 0) + 1
    ordered = sorted(memory, key=lambda name: (-memory[name], name))
    return [
        Space(name, _LETTERS[at] if at < len(_LETTERS) else MANY, memory[name], slices[name])
        for at, name in enumerate(ordered)
    ]


def bar(gpu: GpuPicture, known: Sequence[Space], *, width: int) -> list[Run]:
    """The bar of one GPU, `width` characters in all. Every slice has one at least, as long as there are enough."""
    at = {space.name: number for number, space in enumerate(known)}
    parts = [(one.memory, known[at[one.namespace]].letter, at[one.namespace]) for one in gpu.held]
    sizes = shares([size for size, _, _ in parts] + [gpu.foreign], whole=gpu.capacity, width=width)
    runs = [
        Run(letter * (size - 1) + "|" if size > 1 else letter * size, number)
        for size, (_, letter, number) in zip(sizes, parts, strict=False)
    ]
    taken = sum(sizes)
    return [run for run in (*runs, Run(OTHERS * sizes[-1]), Run(FREE * (width - taken))) if run.text]


def shares(sizes: Sequence[int], *, whole: int, width: int) -> list[int]:
    """Divide `width` characters: rounded at the borders, one at least for what is not nothing, never too many."""
    whole = max(whole, sum(sizes), 1)
    found: list[int] = []
    total = 0
    for size in sizes:
        total += size
        used = sum(found)
        wanted = round(width * total / whole) - used
        found.append(min(width - used, max(wanted, 1 if size else 0)))
    return found
