"""`vramshare uninstall`: takes vramshare out of a cluster, in an order in which no pod is left stuck.

Pods that run with a slice go on: what they need is on their nodes. Pods that wait behind our gate are let go, so that
they are scheduled, without a GPU; a controller's are deleted instead, to be made anew as if vramshare had never been.
The gates are opened twice: before the webhook is taken away, and for those that came meanwhile.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from allocator.api import names
from allocator.kube import (
    DAEMONSETS,
    DEPLOYMENTS,
    JSON_PATCH,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PODS,
    POLICIES,
    POLICY_BINDINGS,
    Client,
    InvalidError,
    KubeSettings,
    NotFoundError,
    Resource,
    StaleError,
)

_RBAC: Final = "rbac.authorization.k8s.io"
CLUSTER_ROLES: Final = Resource(kind="ClusterRole", plural="clusterroles", group=_RBAC, namespaced=False)
CLUSTER_ROLE_BINDINGS: Final = Resource(
    kind="ClusterRoleBinding", plural="clusterrolebindings", group=_RBAC, namespaced=False
)
_ATTEMPTS: Final = 40
"""How often letting a pod go is tried again."""
_REST: Final = 0.25
"""Seconds before each of these."""
_OURS: Final = f"{names.PART_OF_LABEL}={names.PART_OF}"


@dataclass(frozen=True, slots=True)
class Release:
    """What is done with a pod behind our gate.

    Attributes:
        namespace: the pod's.
        name: its name.
        uid: its UID.
        remade: whether a controller makes it anew: then it is deleted, else its gate is opened.
        gate: index of our gate.
        version: resourceVersion that the index holds for.
    """

    namespace: str
    name: str
    uid: str
    remade: bool
    gate: int
    version: str

    def __str__(self) -> str:
        done = "deleted, its controller makes it anew" if self.remade else "let go, without a GPU"
        return f"pod {self.namespace}/{self.name} waits for a GPU: {done}"


def releases(pods: Iterable[Mapping[str, Any]]) -> list[Release]:
    """The pods behind our gate."""
    found = []
    for pod in pods:
        metadata, gates = pod["metadata"], (pod.get("spec") or {}).get("schedulingGates") or ()
        ours = [at for at, gate in enumerate(gates) if gate.get("name") == names.GATE]
        if ours and not metadata.get("deletionTimestamp"):
            remade = any(one.get("controller") for one in metadata.get("ownerReferences") or ())
            place = (metadata.get("namespace", ""), metadata["name"], metadata.get("uid", ""))
            found.append(Release(*place, remade, ours[0], str(metadata.get("resourceVersion", ""))))
    return found


async def let_go(client: Client, one: Release, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Do what is to be done with a pod; where it is refused, read it and try again.

    A leader that still runs changes pods under our hands, and an API server goes on asking a policy that was deleted
    for a second or so, until it looks at its policies again.

    Raises:
        KubeError: the API server refuses it however often it is asked.
    """
    with suppress(NotFoundError):
        for _ in range(_ATTEMPTS):
            try:
                await _once(client, one)
            except (InvalidError, StaleError):
                again = releases([await client.get(PODS, one.name, namespace=one.namespace)])
                if not again or again[0].uid != one.uid:
                    return
                one = again[0]
                await sleep(_REST)
            else:
                return
        await _once(client, one)


async def _once(client: Client, one: Release) -> None:
    if one.remade:
        await client.delete(PODS, one.name, namespace=one.namespace, uid=one.uid)
        return
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": one.version},
        {"op": "remove", "path": f"/spec/schedulingGates/{one.gate}"},
    ]
    await client.patch(PODS, one.name, patch, namespace=one.namespace, kind=JSON_PATCH)


class Uninstall:
    """The subcommand. Exit code 0: done, or told what would be done."""

    help = "take vramshare out of the cluster; pods that run go on"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--dry-run", action="store_true", help="only say what would be done (the default)")
        how.add_argument("--yes", action="store_true", help="do it")
        parser.add_argument("--system-namespace", default=names.DEFAULT_NAMESPACE, help="vramshare's own")
        parser.add_argument("--kubeconfig", type=Path)
        parser.add_argument("--context")

    def run(self, args: argparse.Namespace) -> int:
        """Do it, or tell."""
        asyncio.run(_work(args))
        return 0


command: Final = Uninstall()


async def _work(args: argparse.Namespace) -> None:
    settings = KubeSettings(kubeconfig=args.kubeconfig, context=args.context, user_agent="vramshare-uninstall")
    async with Client(settings) as client:
        if not await _steps(client, args.system_namespace, do=args.yes):
            sys.stdout.write("nothing of vramshare is in this cluster\n")
        elif not args.yes:
            sys.stdout.write("nothing was changed; with --yes it is\n")
    sys.stdout.write(f"on GPU nodes the folder {names.DEFAULT_HOST_DIR} stays: pods that run use it\n")


async def _steps(client: Client, system: str, *, do: bool) -> int:
    """All steps in order; how many there were."""
    count = 0
    for resource in (POLICY_BINDINGS, POLICIES):  # they keep everybody but vramshare from opening gates
        count += await _delete_ours(client, resource, do=do)
    count += await _release(client, do=do)
    count += await _delete_ours(client, MUTATING_WEBHOOKS, do=do)
    for resource in (DEPLOYMENTS, DAEMONSETS):
        count += await _delete_ours(client, resource, namespace=system, do=do)
    count += await _opt_out(client, do=do)
    count += await _release(client, do=do) if do else 0  # API servers ask a deleted webhook for a moment longer
    for resource in (CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES):
        count += await _delete_ours(client, resource, do=do)
    return count + await _delete_ours(client, NAMESPACES, do=do)


async def _delete_ours(client: Client, resource: Resource, *, namespace: str = "", do: bool) -> int:
    found, _ = await client.list(resource, namespace=namespace, labels=_OURS)
    for one in found:
        name = one["metadata"]["name"]
        _tell(f"{resource.kind} {name}: deleted", do=do)
        if do:
            try:
                await client.delete(resource, name, namespace=namespace)
            except NotFoundError:
                continue
    return len(found)


async def _release(client: Client, *, do: bool) -> int:
    found = releases((await client.list(PODS))[0])
    for one in found:
        _tell(str(one), do=do)
        if do:
            await let_go(client, one)
    return len(found)


async def _opt_out(client: Client, *, do: bool) -> int:
    found, _ = await client.list(NAMESPACES, labels=f"{names.INJECT_LABEL}={names.INJECT_ENABLED}")
    for one in found:
        name = one["metadata"]["name"]
        _tell(f"namespace {name}: label {names.INJECT_LABEL} taken off", do=do)
        if do:
            await client.patch(NAMESPACES, name, {"metadata": {"labels": {names.INJECT_LABEL: None}}})
    return len(found)


def _tell(text: str, *, do: bool) -> None:
    sys.stdout.write(text + ("\n" if do else " (dry run)\n"))
