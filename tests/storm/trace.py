"""What happened, in order: its digest tells whether two runs were the same, its tail what led to a failure."""

import asyncio
import hashlib
from collections import deque

_TAIL = 150


class Trace:
    """Takes down lines. Called with words; the time is put in front."""

    def __init__(self, *, whole: bool = False) -> None:
        self._digest = hashlib.blake2b(digest_size=12)
        self.lines: deque[str] = deque(maxlen=None if whole else _TAIL)

    def __call__(self, *words: object) -> None:
        """Take down a line."""
        line = f"{asyncio.get_running_loop().time():9.3f} {' '.join(map(str, words))}"
        self._digest.update(line.encode())
        self.lines.append(line)

    def digest(self) -> str:
        """Equal for equal runs."""
        return self._digest.hexdigest()
