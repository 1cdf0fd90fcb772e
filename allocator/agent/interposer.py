"""Puts the interposer where containers mount it, so that no container ever sees half of it.

The folder `<host_dir>` is mounted in every GPU container. The library stands there under a name made of version
and content, so that running pods keep the one they started with. `ld.so.preload` names the newest, for programs
that start with an empty environment; it is replaced by rename: a running container keeps the file it mounted.
"""

import contextlib
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from allocator.api import names
from allocator.api.errors import VramshareError

_ELF: Final = b"\x7fELF"
_UNSAFE: Final = re.compile(r"[\s:]")
"""The loader splits its list of preloads at these."""


class InstallError(VramshareError):
    """The interposer cannot be put in place; says which file and why."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An interposer in place.

    Attributes:
        file: on the host.
        path: the same in a container.
        sha256: of its content, in hexadecimal.
    """

    file: Path
    path: str
    sha256: str


def install(source: Path, *, host_dir: Path, version: str) -> Installed:
    """Copy the interposer under its versioned name and let `ld.so.preload` name it. Doing it again changes nothing.

    Raises:
        InstallError: the source is no library, or the folder cannot be written.
    """
    if _UNSAFE.search(str(host_dir)):
        raise InstallError(f"host folder {str(host_dir)!r} has a space or a colon, which a preload cannot; use another")
    try:
        content = source.read_bytes()
    except OSError as reason:
        raise InstallError(f"interposer {source} cannot be read: {reason.strerror}") from None
    if not content.startswith(_ELF):
        raise InstallError(f"interposer {source} is not a shared library; build it with `make -C native`")
    digest = hashlib.sha256(content).hexdigest()
    name = f"libvramshare-{version}-{digest[:12]}.so"
    installed = Installed(file=host_dir / name, path=f"{names.LIBRARY_DIR}/{name}", sha256=digest)
    try:
        for folder in (host_dir, host_dir / names.HOST_TIMETABLES):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)  # mkdir's mode is subject to the umask
        replace(installed.file, content)
        replace(host_dir / names.HOST_PRELOAD_FILE, f"{installed.path}\n".encode())
    except OSError as reason:
        raise InstallError(
            f"{reason.filename or host_dir} cannot be written: {reason.strerror}; "
            "give a writable folder with --host-dir, the same in the webhook's settings"
        ) from None
    return installed


def in_place(installed: Installed, *, host_dir: Path) -> bool:
    """Whether both files still stand as installed; cheap enough for every turn (sizes and the short file only)."""
    try:
        preload = (host_dir / names.HOST_PRELOAD_FILE).read_text(encoding="utf-8")
        return installed.file.stat().st_size > 0 and preload == f"{installed.path}\n"
    except (OSError, UnicodeDecodeError):
        return False


def replace(file: Path, content: bytes, *, durable: bool = True) -> None:
    """Make the file hold exactly this, in one step. An equal file stays as it is: containers have it mounted.

    Args:
        file: where.
        content: what.
        durable: wait until it would survive a power cut; not worth it for what is made anew at every start.
    """
    with contextlib.suppress(FileNotFoundError):
        if file.read_bytes() == content:
            return
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with fresh.open("xb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o644)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        fresh.rename(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
