"""How a framework's program reports: what it sees, when it was refused, whether it goes on.

Each program takes memory in pieces until its framework raises its ordinary out-of-memory error. It prints
`seen total=B free=B`, then `refused pieces=N error=NAME`, waits for a line so that somebody can read the device
from outside, frees everything, computes again and prints `healthy`.
"""

import sys
from collections.abc import Callable

PIECE = 64 << 20


def report_seen(*, total: int, free: int) -> None:
    """What the framework was told of the GPU's memory, in bytes."""
    print(f"seen total={total} free={free}", flush=True)


def take_until_refused(
    take: Callable[[int], object], errors: tuple[type[BaseException], ...], most: int = 8 << 30
) -> list[object]:
    """Keeps pieces until one of `errors`; reports it and waits. Returns what was kept."""
    kept: list[object] = []
    for _ in range(most // PIECE):
        try:
            kept.append(take(PIECE))
        except errors as error:
            text = str(error).split("\n", maxsplit=1)[0][:160].replace("=", ":")
            print(f"refused pieces={len(kept)} error={type(error).__name__} text: {text}", flush=True)
            break
    else:
        print(f"took pieces={len(kept)}", flush=True)
    sys.stdin.readline()
    return kept


def report_health(*, healthy: bool) -> None:
    """The last line."""
    print("healthy" if healthy else "sick: wrong result after the refusal", flush=True)
    sys.exit(not healthy)
