"""Files that a command line names."""

import sys
from pathlib import Path

from allocator.api.errors import VramshareError


def read_given(name: str) -> str:
    """The text of a file; `-` is standard input.

    Raises:
        VramshareError: it is no text.
        OSError: it cannot be read.
    """
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as reason:
        raise VramshareError(f"{name}: no text in UTF-8: {reason.reason} at byte {reason.start}") from None
