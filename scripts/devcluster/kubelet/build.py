"""From a container's spec to the plan that the shim carries out."""

import os
import secrets
import sys
from collections.abc import Mapping
from typing import Any

from devcluster.kubelet.context import NodeContext
from devcluster.kubelet.env import Context, resolve_command, resolve_env
from devcluster.kubelet.materials import Materials
from devcluster.kubelet.mounts import check_visible, image_binds, make_sub_paths, plan_mounts, rewrite, rewritten
from devcluster.kubelet.plan import PROCESS, Bind, Plan

TERMINATION_LOG = "/dev/termination-log"


async def build_plan(node: NodeContext, container: Mapping[str, Any], materials: Materials, *, restarts: int) -> Plan:
    """Decide everything about the next run of ``container``.

    Raises:
        ConfigError: something that it refers to is missing, or a mount hides what it runs from.
        NvidiaError: the NVIDIA runtime refuses it.
    """
    pod = materials.view
    meta, spec = pod["metadata"], pod["spec"]
    base = {**node.base_env, "HOSTNAME": meta["name"]}
    context = Context(pod=pod, sources=await materials.sources(), allocatable=node.allocatable, base=base)
    env = resolve_env(container, context)
    image = str(container.get("image", ""))
    binds = [*image_binds(node.host.image(image)), *plan_mounts(container, materials.volumes, env)]
    make_sub_paths(binds, materials.volumes)
    scratch = f"{node.host.runtime}/{meta['uid']}-{container['name']}-{secrets.token_hex(4)}"
    injection = node.nvidia.inject(env, isolation=node.isolation, scratch=scratch)
    argv = resolve_command(container, env, node.host.entrypoint(image))
    cwd = container.get("workingDir") or "/"
    if node.isolation == PROCESS:
        env, argv = rewritten(env, binds), tuple(rewrite(word, binds) for word in argv)
        cwd = rewrite(cwd, binds)
    else:
        check_visible(binds, (sys.prefix, *injection.needs))
        binds.append(_termination_log(container, scratch))
    security = {**(spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
    return Plan(
        argv=argv,
        env={**env, **injection.env},
        log_path=f"{node.host.logs(meta['namespace'], meta['name'], meta['uid'])}/{container['name']}/{restarts}.log",
        scratch=scratch,
        isolation=node.isolation,
        cwd=cwd,
        hostname="" if spec.get("hostNetwork") else str(spec.get("hostname") or meta["name"]),
        host_pid=bool(spec.get("hostPID")),
        binds=(*injection.binds, *binds),
        hide=injection.hide,
        devices=injection.devices,
        private_mounts=node.private_mounts,
        read_only_root=bool(security.get("readOnlyRootFilesystem")),
        uid=security.get("runAsUser"),
        gid=security.get("runAsGroup"),
    )


def termination_message(plan: Plan) -> str:
    """Return what the container wrote to its termination log, at most 4 KiB, and remove its leftovers."""
    path = f"{plan.scratch}.message"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            message = file.read(4096)
    except FileNotFoundError:
        message = ""
    for leftover in (path, f"{plan.scratch}.visible"):
        if os.path.exists(leftover):
            os.unlink(leftover)
    if os.path.isdir(plan.scratch):
        os.rmdir(plan.scratch)
    return message


def _termination_log(container: Mapping[str, Any], scratch: str) -> Bind:
    path = f"{scratch}.message"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
    os.chmod(path, 0o666)  # noqa: S103 - the container's user, whoever it is, writes here
    return Bind(source=path, target=container.get("terminationMessagePath") or TERMINATION_LOG)
