"""The container's root without an overlay: for a kubelet that is not root.

In a user namespace the kernel refuses an overlay over a file system that other mounts cover, and refuses to create a
mount point in a folder whose owner is not mapped. So the root is a tmpfs: folders on the way to a mount point are made
anew there and their entries bound one by one, everything else is bound from the host as it is. The user's own files
are therefore writable from such a container, unlike under an overlay.
"""

import os

from devcluster.kubelet.shim import system


def build(scratch: str, *, targets: list[str], mounted: list[str], skip: frozenset[str]) -> str:
    """Mount a tmpfs with the host's entries on ``scratch`` and return the new root.

    Args:
        scratch: an empty host folder.
        targets: where the pod's mounts will go, absolute paths in the container.
        mounted: the host's mount points: a folder above one is made anew, since it cannot be bound alone.
        skip: folders left empty, for mounts made later.
    """
    system.mount("tmpfs", scratch, kind="tmpfs", data="mode=755")
    root = f"{scratch}/root"
    os.mkdir(root)
    system.mount(root, root, flags=system.MS_BIND)
    anew = parents([*targets, *mounted])
    _fill("/", root, anew=anew, skip=skip)
    for path in targets:
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
    return root


def parents(paths: list[str]) -> frozenset[str]:
    """Return every folder above one of ``paths``, the root included."""
    found = {"/"}
    for path in paths:
        above = os.path.dirname(path)
        while above not in found:
            found.add(above)
            above = os.path.dirname(above)
    return frozenset(found)


def _fill(folder: str, copy: str, *, anew: frozenset[str], skip: frozenset[str]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            target = f"{copy}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
            elif entry.path in skip:
                os.mkdir(target)
            elif entry.is_dir():
                os.mkdir(target)
                if entry.path in anew and os.access(entry.path, os.R_OK | os.X_OK):
                    _fill(entry.path, target, anew=anew, skip=skip)
                else:
                    _bind(entry.path, target)
            else:
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
                _bind(entry.path, target)


def _bind(source: str, target: str) -> None:
    try:
        system.mount(source, target, flags=system.MS_BIND | system.MS_REC)
    except OSError:
        # What this user may not bind, a container of this user could not have used either.
        return
