"""The container's root: the host's file system under a private writable layer, with the pod's mounts in place.

Images are not pulled; every container sees the host's own files, so that its interpreters and libraries work. An
overlay keeps all writes, mount points included, in a tmpfs that vanishes with the container. Bind mounts alone were
rejected: /etc/vramshare can only be mounted where it exists, and making it on the host is what a container must not do.

Order matters and is: writable layer, the host's other mounts, /proc, /dev, hidden files, the pod's mounts.
"""

import errno
import os
import re
from collections.abc import Iterator

from devcluster.kubelet.plan import USER_NAMESPACES, Bind, Plan, is_below
from devcluster.kubelet.shim import skeleton, system

_OWN = ("/proc", "/dev")
_MOST_STEPS = 1000
_STANDARD_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_KEPT_FLAGS = {
    os.ST_NOSUID: system.MS_NOSUID,
    os.ST_NODEV: system.MS_NODEV,
    os.ST_NOEXEC: system.MS_NOEXEC,
}


def build(plan: Plan) -> None:
    """Build the root described by ``plan`` in this process' own mount namespace and enter it.

    Raises:
        OSError: the kernel refused a mount; the message names it.
    """
    system.mount("", "/", flags=system.MS_REC | system.MS_SLAVE)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        host_mounts = list(top_mounts(table.read()))
    shown = [path for path in host_mounts if path not in _OWN and not is_below(path, plan.private_mounts)]
    if plan.isolation == USER_NAMESPACES:
        targets = [path for path in (*plan.hide, *(bind.target for bind in plan.binds)) if not is_below(path, _OWN)]
        root = skeleton.build(plan.scratch, targets=targets, mounted=shown, skip=frozenset(_OWN))
    else:
        root = _overlay(plan.scratch)
        for path in shown:
            _pass_on(path, root)
    _mount_proc(root, plan)
    _mount_dev(root, plan.devices)
    for path in plan.hide:
        _hide(root + path)
    for bind in plan.binds:
        mount_bind(root, bind)
    if plan.read_only_root:
        _make_read_only(root)
    system.enter_root(root)


def top_mounts(mountinfo: str) -> Iterator[str]:
    """Yield the mount points that are not below another one, the root itself excepted."""
    seen: list[str] = []
    for line in mountinfo.splitlines():
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if path != "/" and not is_below(path, seen):
            seen.append(path)
            yield path


def _overlay(scratch: str) -> str:
    system.mount("tmpfs", scratch, kind="tmpfs", data="mode=755")
    os.chdir(scratch)
    for name in ("upper", "work", "root"):
        os.mkdir(name)
    system.mount("overlay", "root", kind="overlay", data="lowerdir=/,upperdir=upper,workdir=work")
    return f"{scratch}/root"


def _pass_on(path: str, root: str) -> None:
    """Show one mount of the host; one that cannot be shown is left out, as its files would be foreign to an image."""
    try:
        system.mount(path, root + path, flags=system.MS_BIND | system.MS_REC)
        system.mount("", root + path, flags=system.MS_PRIVATE | system.MS_REC)
    except OSError:
        return


def _mount_proc(root: str, plan: Plan) -> None:
    flags = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
    try:
        if plan.host_pid:
            system.mount("/proc", f"{root}/proc", flags=system.MS_BIND | system.MS_REC)
        else:
            system.mount("proc", f"{root}/proc", kind="proc", flags=flags)
    except OSError:
        # A user namespace inside a container with masked /proc may not mount a new one: the host's still works.
        system.mount("/proc", f"{root}/proc", flags=system.MS_BIND | system.MS_REC)


def _mount_dev(root: str, devices: tuple[str, ...]) -> None:
    dev = f"{root}/dev"
    system.mount("tmpfs", dev, kind="tmpfs", flags=system.MS_NOSUID, data="mode=755,size=64k")
    for name in (*_STANDARD_DEVICES, *devices):
        if os.path.lexists(f"/dev/{name}"):
            mount_bind(root, Bind(source=f"/dev/{name}", target=f"/dev/{name}"))
    for name, target in _DEV_LINKS.items():
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/shm")
    system.mount("tmpfs", f"{dev}/shm", kind="tmpfs", flags=system.MS_NOSUID | system.MS_NODEV, data="mode=1777")
    if os.path.isdir("/dev/pts"):
        os.mkdir(f"{dev}/pts")
        _pass_on("/dev/pts", root)
        os.symlink("pts/ptmx", f"{dev}/ptmx")


def _hide(path: str) -> None:
    """Remove a file from the container's view, also one that is a mount of its own, as drivers in containers are."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.EROFS:
            # The driver stands on a read-only file system of its own. An empty file in its place is no library either.
            system.mount("/dev/null", path, flags=system.MS_BIND)
            return
        if error.errno != errno.EBUSY:
            raise
        system.unmount(path)
        os.unlink(path)


def mount_bind(root: str, bind: Bind) -> None:
    """Mount one bind below ``root``, making its mount point first."""
    target = inside(root, bind.target)
    if os.path.isdir(bind.source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    system.mount(bind.source, target, flags=system.MS_BIND | system.MS_REC)
    if not bind.propagated:
        system.mount("", target, flags=system.MS_PRIVATE | system.MS_REC)
    if bind.read_only:
        _make_read_only(target)


def inside(root: str, path: str) -> str:
    """Return where ``path`` of a container lies below its root, links followed as they count in there.

    ``/var/run`` is a link to ``/run`` on most machines: followed from outside it would lead to the host's.

    Raises:
        OSError: the links go round in circles.
    """
    done: list[str] = []
    left = [part for part in path.split("/") if part]
    for _ in range(_MOST_STEPS):
        if not left:
            return "/".join([root, *done])
        part = left.pop(0)
        place = "/".join([root, *done, part])
        if part == "..":
            done = done[:-1]
        elif os.path.islink(place):
            target = os.readlink(place)
            done = [] if target.startswith("/") else done
            left = [one for one in target.split("/") if one not in {"", "."}] + left
        else:
            done.append(part)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _make_read_only(target: str) -> None:
    # A user namespace may not clear the flags that a mount came with, so they are named again.
    present = os.statvfs(target).f_flag
    kept = sum(flag for seen, flag in _KEPT_FLAGS.items() if present & seen)
    system.mount("", target, flags=system.MS_REMOUNT | system.MS_BIND | system.MS_RDONLY | kept)
