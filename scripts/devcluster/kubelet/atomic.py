"""Volumes whose files change together: the layout of a real kubelet's atomic writer.

The files lie in a dated folder, ``..data`` is a link to it that is replaced by rename, and every visible name is a link
through ``..data``. A reader sees the old set or the new one, and a container that watches must watch the folder.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping

from devcluster.clock import timestamp
from devcluster.kubelet.payload import File

DATA = "..data"


def write(folder: str, files: Mapping[str, File], now: float) -> bool:
    """Make ``folder`` show exactly ``files``; return whether anything had to change."""
    os.makedirs(folder, exist_ok=True)
    link = os.path.join(folder, DATA)
    before = os.path.realpath(link) if os.path.islink(link) else None
    if before is not None and _content(before) == dict(files):
        return False
    dated = tempfile.mkdtemp(prefix=f"..{timestamp(now).replace(':', '_')}.", dir=folder)
    os.chmod(dated, 0o755)  # noqa: S103 - readable by the container's user
    for path, file in files.items():
        _write_file(os.path.join(dated, path), file)
    fresh = os.path.join(folder, "..data_tmp")
    os.symlink(os.path.basename(dated), fresh)
    os.rename(fresh, link)
    _link_names(folder, {path.split("/")[0] for path in files})
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)
    return True


def _write_file(path: str, file: File) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, file.data)
        os.fchmod(descriptor, file.mode)
    finally:
        os.close(descriptor)


def _link_names(folder: str, names: set[str]) -> None:
    present = {name for name in os.listdir(folder) if not name.startswith("..")}
    for name in present - names:
        os.unlink(os.path.join(folder, name))
    for name in names - present:
        os.symlink(os.path.join(DATA, name), os.path.join(folder, name))


def _content(folder: str) -> dict[str, File]:
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                data = file.read()
                mode = os.fstat(file.fileno()).st_mode & 0o7777
            found[os.path.relpath(path, folder)] = File(data, mode)
    return found
