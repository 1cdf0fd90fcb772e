"""Breaks reviews: a seeded mutator over a corpus, so that a failure is a number that can be run again."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

CORPUS: Final = Path(__file__).with_name("corpus")

SCALARS: Final[Sequence[Any]] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53, 2**64, -(2**63), 1e308, 0.1, -0.0, [], {}, [[]], {"": {}}, [None]),
    *("", " ", "0", "-1", "1", "25", "101", "9" * 400, "1e9", "0x10", "1_000", "٣", "\uff12Gi", "²", "NaN", "inf"),
    *(
        "2Gi",
        "2gi",
        "2 Gi",
        "2Gi\n",
        "1.5Gi",
        ".5Gi",
        "2GiB",
        "2048",
        "20%",
        "0%",
        "100.1%",
        "1e3Mi",
        "1k",
        "-2Gi",
        "%",
    ),
    *("9999999999Ei", "1n", "1u", "1m", "Tesla T4", "!Tesla T4", "!", ",", "a,b", "!!x", "GPU-0", "GPU-" + "f" * 5000),
    *(
        "\x00",
        "\u2028",
        "\ud83d\ude00",
        "e\u0301",
        "../../etc",
        "$(A)",
        "${A}",
        "/a.so:/b.so",
        "a" * 70000,
        "\n\n",
        "\t",
    ),
    *(
        "allocated",
        "queued",
        "grant-1 ",
        "node-a",
        "GPU-0 memory=1 cores=1",
        "GPU-0",
        "memory=1",
        "#",
        "main",
        "no-such",
    ),
)
KEYS: Final[Sequence[str]] = (
    *(
        f"vramshare.io/{one}"
        for one in ("memory", "cores", "gpus", "models", "uuids", "policy", "containers", "status")
    ),
    *(
        f"vramshare.io/{one}"
        for one in ("when-full", "cores-policy", "allocation-id", "node", "group", "group-size", "")
    ),
    *(f"{one}.vramshare.io/main" for one in ("memory", "cores", "gpus", "allocation", "preload", "visible-devices")),
    *("memory.vramshare.io/", "memory.vramshare.io/" + "x" * 300, "vramshare.io/memry", "nvidia.com/gpu", "\x00", ""),
    *("nvidia.com/gpumem", "nvidia.com/gpucores", "nvidia.com/gpumem-percentage", "name", "env", "annotations"),
)
Place = tuple[Any, Any]
"""A container and the key or index in it."""


def corpus() -> list[Any]:
    """The reviews to begin with."""
    return [json.loads(file.read_text()) for file in sorted(CORPUS.glob("*.json"))]


def mutated(seed: int, reviews: Sequence[Any]) -> bytes:
    """The review of this number."""
    random = Random(seed)
    review = copy.deepcopy(random.choice(reviews))
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        _change(review, reviews, random)
    body = json.dumps(review, ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")
    return _torn(body, random) if random.random() < 0.1 else body


def _change(review: Any, reviews: Sequence[Any], random: Random) -> None:
    """One change somewhere."""
    places = _places(review)
    if not places:  # earlier changes have left nothing to change
        return
    holder, key = random.choice(_annotations(places, random) or places)
    match random.randrange(7):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(random.choice(holder)))
        case 2:
            other = random.choice(_places(random.choice(reviews)))
            holder[key] = copy.deepcopy(other[0][other[1]])
        case 3 if isinstance(holder, dict):
            holder[random.choice(KEYS)] = holder.pop(key)
        case 4 if isinstance(holder, dict):
            holder[random.choice(KEYS)] = random.choice(SCALARS)
        case 5:
            holder[key] = _deep(random.randrange(1, 60))
        case _:
            holder[key] = random.choice(SCALARS)


def _annotations(places: Sequence[Place], random: Random) -> list[Place]:
    """Half of the time, only the places in annotations and resources: that is where users write."""
    if random.random() < 0.5:
        return []
    return [one for one in places if isinstance(one[1], str) and "/" in one[1]]


def _places(value: Any) -> list[Place]:
    """Every place in a document."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]


def _deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _torn(body: bytes, random: Random) -> bytes:
    """Bytes that somebody cut, turned around or doubled."""
    at = random.randrange(len(body))
    match random.randrange(4):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + bytes([random.randrange(256)]) + body[at + 1 :]
        case 2:
            return body[:at] + body[at : at + random.randrange(40)] * 3 + body[at:]
        case _:
            return b"\xef\xbb\xbf" + body
