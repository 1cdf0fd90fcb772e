"""Removes interposers of earlier versions that nobody needs any more.

Pods keep the version that they started with: it is mapped in their processes, and a container of theirs that starts
again asks for it by the name in its LD_PRELOAD. Which pods these are is not read from the API server, the agent has
no right to: a pod was given the version that the node's inventory named when it was granted. So an old version is
needed while a grant lives that was made before its successor was installed, or shortly after.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from allocator.agent.hostproc import Proc
from allocator.agent.maps import naming
from allocator.agent.tenancy import Ledger
from allocator.api import names

LAG: Final = timedelta(minutes=15)
"""How long after a new version an allocator may still have given out the old one: its view of the inventory lags, and
its clock may be another."""
_INSTALLED: Final = re.compile(r"libvramshare-.+-[0-9a-f]{12}\.so")
_HALF: Final = re.compile(r"\..+\.[0-9a-f]{8}")
"""What an installation that was cut off leaves."""


@dataclass(frozen=True, slots=True)
class Old:
    """A file that might go.

    Attributes:
        file: where it is.
        superseded: when another took its place, at the latest.
    """

    file: Path
    superseded: datetime


def tidy(host_dir: Path, ledger: Ledger | None, proc: Proc, *, now: datetime) -> list[Path]:
    """Remove what nobody needs; which files these were.

    Raises:
        OSError: a file cannot be removed.
    """
    return remove(removable(old_versions(host_dir), ledger, now=now), proc)


def old_versions(host_dir: Path) -> tuple[Old, ...]:
    """Files of other versions than the current one, and what broken installations left."""
    preload = host_dir / names.HOST_PRELOAD_FILE
    try:
        # Replaced with each new version, and with nothing else.
        since = datetime.fromtimestamp(preload.stat().st_mtime, tz=UTC)
        current = Path(preload.read_text(encoding="utf-8").strip()).name
        found = sorted(host_dir.iterdir())
    except (OSError, UnicodeDecodeError):
        return ()
    if not _INSTALLED.fullmatch(current):
        return ()
    return tuple(
        Old(file=one, superseded=since)
        for one in found
        if (_INSTALLED.fullmatch(one.name) and one.name != current) or _HALF.fullmatch(one.name)
    )


def removable(old: Iterable[Old], ledger: Ledger | None, *, now: datetime) -> tuple[Old, ...]:
    """Those that no pod was given and none can be given any more; without a readable ledger none."""
    if ledger is None or ledger.unreadable:
        return ()
    return tuple(
        one
        for one in old
        if now - one.superseded >= LAG
        and all(grant.granted >= one.superseded + LAG for grant in ledger.grants.values())
    )


def remove(old: Iterable[Old], proc: Proc) -> list[Path]:
    """Remove those that no process has mapped; which these were.

    A process whose memory map cannot be read may have any of them: then nothing is removed.
    """
    candidates = list(old)
    if not candidates:
        return []
    try:
        mapped = _mapped(proc, {one.file.name for one in candidates})
    except OSError:
        return []
    gone = []
    for one in candidates:
        if one.file.name not in mapped:
            one.file.unlink(missing_ok=True)
            gone.append(one.file)
    return gone


def _mapped(proc: Proc, wanted: set[str]) -> set[str]:
    """Which of these interposers, by name, some process has mapped."""
    found = set()
    for pid in proc.pids():
        try:
            for _, path in naming(proc.told(pid, "maps")):
                found.add(path.rpartition(b"/")[2].decode(errors="replace"))
                found &= wanted
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
