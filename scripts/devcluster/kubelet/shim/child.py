"""The container's first process, from fork to exec."""

import json
import os
import shutil
import signal
from typing import NoReturn

from devcluster.kubelet.plan import PROCESS, USER_NAMESPACES, Plan
from devcluster.kubelet.shim import rootfs, system

START_ERROR = 128
"""Exit code of a container whose command could not be started, as container runtimes report it."""


def become(plan: Plan, *, stdout: int, stderr: int, report: int) -> NoReturn:
    """Turn this process into the container's command; say on ``report`` why it could not."""
    try:
        _enter(plan)
        null = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        execute(plan)
    except (OSError, KeyError) as error:
        os.write(report, json.dumps({"message": str(error)}).encode())
    os._exit(START_ERROR)


def _enter(plan: Plan) -> None:
    system.die_with_parent(signal.SIGKILL)
    os.setsid()
    if plan.isolation == PROCESS:
        return
    system.unshare(system.CLONE_NEWNS | system.CLONE_NEWUTS)
    if plan.hostname:
        system.set_hostname(plan.hostname)
    rootfs.build(plan)


def execute(plan: Plan) -> NoReturn:
    """Become the plan's command, inside the container, with the standard streams as they are.

    Raises:
        OSError: it cannot be started.
    """
    if plan.isolation != PROCESS:
        os.makedirs(plan.cwd, exist_ok=True)
    os.chdir(plan.cwd)
    _drop_privileges(plan)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    program = shutil.which(plan.argv[0], path=plan.env.get("PATH", os.defpath))
    if program is None:
        where = "no such file or directory" if "/" in plan.argv[0] else "executable file not found in $PATH"
        raise FileNotFoundError(f'exec: "{plan.argv[0]}": {where}')
    os.execve(program, plan.argv, plan.env)  # noqa: S606 - running what the pod asks for is the purpose


def _drop_privileges(plan: Plan) -> None:
    if plan.isolation == USER_NAMESPACES or os.geteuid() != 0:
        return  # there is no other user whom a user could become
    if plan.gid is not None:
        os.setgroups([])
        os.setgid(plan.gid)
    if plan.uid is not None:
        os.setuid(plan.uid)
        system.die_with_parent(signal.SIGKILL)
