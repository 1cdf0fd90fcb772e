"""The system calls that Python 3.11 does not offer, with errors as OSError."""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MNT_DETACH = 0x2

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Take new namespaces of the kinds in ``flags``; one of PIDs only counts for children."""
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount ``source`` at ``target``; flags and data are the kernel's."""
    arguments = [os.fsencode(text) or None for text in (source, target, kind)]
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(data) or None)
    _checked(result, f"mount {source or kind} on {target}")


def unmount(target: str) -> None:
    """Detach the mount at ``target``, even while it is in use."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def enter_root(folder: str) -> None:
    """Make ``folder``, a mount point, the root of this mount namespace and drop the old root."""
    os.chdir(folder)
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _checked(_libc.syscall(ctypes.c_long(number), b".", b"."), f"pivot_root {folder}")
    unmount(".")
    os.chdir("/")


def join_namespace(descriptor: int) -> None:
    """Enter the namespace that an open file of /proc/<pid>/ns stands for; one of PIDs only counts for children."""
    _checked(_libc.setns(descriptor, 0), "setns")


def set_hostname(name: str) -> None:
    """Set the name of this UTS namespace."""
    encoded = name.encode()[:64]
    _checked(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), f"sethostname {name}")


def die_with_parent(signal_number: int) -> None:
    """Ask for ``signal_number`` when the thread that forked this process ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl PDEATHSIG")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none escapes."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl CHILD_SUBREAPER")
