"""Keys as a terminal sends them: bytes to names."""

from typing import Final

_NAMED: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[5~": "pageup",
    b"\x1b[6~": "pagedown",
    b"\x1b[H": "home",
    b"\x1b[1~": "home",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\r": "enter",
    b"\n": "enter",
    b"\x1b": "escape",
    b"\x03": "q",
}
_LONGEST_FIRST: Final = sorted(_NAMED, key=len, reverse=True)


def keys(raw: bytes) -> list[str]:
    """The keys that were pressed; sequences that mean nothing here are passed over."""
    found = []
    while raw:
        named = next((one for one in _LONGEST_FIRST if raw.startswith(one)), None)
        if named == b"\x1b" and raw[1:2] in (b"[", b"O"):
            raw = _behind(raw)
        elif named is not None:
            found.append(_NAMED[named])
            raw = raw[len(named) :]
        else:
            size = next((n for n in range(1, 5) if _is_text(raw[:n])), 1)
            found += list(raw[:size].decode(errors="ignore"))
            raw = raw[size:]
    return found


def _behind(raw: bytes) -> bytes:
    """What follows an unknown sequence, which ends with a letter or a tilde."""
    for at in range(2, len(raw)):
        if raw[at : at + 1].isalpha() or raw[at : at + 1] == b"~":
            return raw[at + 1 :]
    return b""


def _is_text(raw: bytes) -> bool:
    try:
        return bool(raw.decode())
    except UnicodeDecodeError:
        return False
