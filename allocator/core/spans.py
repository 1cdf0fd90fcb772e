"""Parts of a cycle: which are free, which are common, which are left. Pure."""

from collections.abc import Sequence

Span = tuple[int, int]
"""Start and end within a cycle, in nanoseconds."""


def length_of(spans: Sequence[Span]) -> int:
    """Their time together, in nanoseconds."""
    return sum(end - start for start, end in spans)


def common(lists: Sequence[Sequence[Span]]) -> list[Span]:
    """What is free on all of several GPUs."""
    found = list(lists[0]) if lists else []
    for other in lists[1:]:
        found = [(max(a, c), min(b, d)) for a, b in found for c, d in other if max(a, c) < min(b, d)]
    return found


def take(free: Sequence[Span], length: int) -> list[Span]:
    """So much of the free time: in one piece if a piece is long enough, else from the front."""
    whole = next(((start, start + length) for start, end in free if end - start >= length), None)
    if whole is not None:
        return [whole] if length else []
    taken: list[Span] = []
    for start, end in free:
        part = min(end - start, length)
        if part:
            taken.append((start, start + part))
            length -= part
    return taken


def without(free: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """Free time less what was taken."""
    left = list(free)
    for start, end in taken:
        left = [
            piece
            for low, high in left
            for piece in ((low, min(high, start)), (max(low, end), high))
            if piece[0] < piece[1]
        ]
    return left


def joined(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, neighbours made one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
