"""A further process in a running container: what ``kubectl exec`` starts.

Standard streams are the caller's and go straight to the command, so this shim only enters, waits and passes the exit
code on. It ends the command when it is itself ended.
"""

import fcntl
import os
import signal
import sys
import termios
from typing import NoReturn

from devcluster.kubelet.plan import PROCESS, USER_NAMESPACES, Plan
from devcluster.kubelet.shim import child, system

_KINDS = ("mnt", "uts", "pid")


def main() -> NoReturn:
    """Run ``<pid of the container's first process> <plan>`` and exit as the command does."""
    pid, plan = int(sys.argv[1]), Plan.decode(sys.argv[2].encode())
    terminal = sys.argv[3] == "tty"
    try:
        system.die_with_parent(signal.SIGKILL)
        _enter(pid, plan)
    except OSError as error:
        sys.stderr.write(f"cannot enter the container: {error}\n")
        os._exit(child.START_ERROR - 2)
    inside = os.fork()
    if inside == 0:
        _become(plan, terminal=terminal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(inside, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _enter(pid: int, plan: Plan) -> None:
    if plan.isolation == PROCESS:
        return
    kinds = ("user", *_KINDS) if plan.isolation == USER_NAMESPACES else _KINDS
    doors = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    for door in doors:
        system.join_namespace(door)


def _become(plan: Plan, *, terminal: bool) -> NoReturn:
    try:
        system.die_with_parent(signal.SIGKILL)
        os.setsid()
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        child.execute(plan)
    except OSError as error:
        sys.stderr.write(f"OCI runtime exec failed: exec failed: unable to start container process: {error}\n")
    os._exit(child.START_ERROR - 2)
