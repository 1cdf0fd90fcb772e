"""What the doctor looks at: one look at the objects of a cluster, and one question put to its admission."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from allocator.api import names
from allocator.api.errors import FormatError
from allocator.api.inventory import Inventory
from allocator.cli.doctor.finding import Json, labels_of, name_of
from allocator.core.ledger import Ledger, node_of
from allocator.kube import (
    CONFIGMAPS,
    DAEMONSETS,
    DEPLOYMENTS,
    LEASES,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NODES,
    PODS,
    POLICIES,
    POLICY_BINDINGS,
    RUNTIME_CLASSES,
    SECRETS,
    Client,
    KubeError,
    NotFoundError,
    Resource,
)

PROBE: Final = "vramshare-doctor"
"""Name of the pod that is created by dry run."""


@dataclass(frozen=True)
class Cluster:
    """Objects as they were listed.

    Attributes:
        now: when.
        system: vramshare's namespace.
        namespaces, nodes, pods, runtime_classes, registrations, policies, bindings: of the whole cluster.
        deployments, daemonsets: of all namespaces.
        configmaps, leases: of vramshare's namespace.
        secret: the one with the certificates; None: there is none.
        probe: what admission said to a small GPU pod: empty if it took it; None: it was not asked.
        unseen: why a field could not be looked at, by its name.
    """

    now: datetime
    system: str = names.DEFAULT_NAMESPACE
    namespaces: tuple[Json, ...] = ()
    nodes: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    runtime_classes: tuple[Json, ...] = ()
    registrations: tuple[Json, ...] = ()
    policies: tuple[Json, ...] = ()
    bindings: tuple[Json, ...] = ()
    deployments: tuple[Json, ...] = ()
    daemonsets: tuple[Json, ...] = ()
    configmaps: tuple[Json, ...] = ()
    leases: tuple[Json, ...] = ()
    secret: Json | None = None
    probe: str | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)

    @property
    def opted_in(self) -> list[str]:
        """The namespaces whose pods vramshare looks after."""
        return [
            name_of(one)
            for one in self.namespaces
            if labels_of(one).get(names.INJECT_LABEL) == names.INJECT_ENABLED
            and name_of(one) not in {"kube-system", self.system}
        ]

    @property
    def registration(self) -> Json | None:
        """Ours."""
        return next((one for one in self.registrations if name_of(one) == names.REGISTRATION), None)

    @property
    def webhook(self) -> Json | None:
        """Our Deployment."""
        ours = (one for one in self.deployments if one["metadata"].get("namespace") == self.system)
        return next((one for one in ours if name_of(one) == names.WEBHOOK_SERVICE), None)

    @property
    def outside(self) -> bool:
        """Whether the webhook is reached by URL: it runs as no pod of this cluster."""
        hooks = (self.registration or {}).get("webhooks") or ()
        return any("url" in (one.get("clientConfig") or {}) for one in hooks)

    @cached_property
    def inventories(self) -> dict[str, Inventory]:
        """The inventories that can be read, by node."""
        found = {}
        for one in self._of_kind(names.KIND_INVENTORY):
            try:
                inventory = Inventory.from_data(one.get("data") or {})
            except FormatError:
                continue
            found[inventory.node] = inventory
        return found

    @property
    def unreadable_inventories(self) -> list[str]:
        """Names of inventories that cannot be read."""
        read = {names.inventory_name(node) for node in self.inventories}
        return [name_of(one) for one in self._of_kind(names.KIND_INVENTORY) if name_of(one) not in read]

    @cached_property
    def ledgers(self) -> dict[str, Ledger]:
        """The ledgers, by node."""
        return {node_of(one): Ledger.from_data(node_of(one), one.get("data")) for one in self._of_kind("ledger")}

    def _of_kind(self, kind: str) -> list[Json]:
        return [one for one in self.configmaps if labels_of(one).get(names.KIND_LABEL) == kind]


_FIELDS: Final[Mapping[str, Resource]] = {
    "namespaces": NAMESPACES,
    "nodes": NODES,
    "pods": PODS,
    "runtime_classes": RUNTIME_CLASSES,
    "registrations": MUTATING_WEBHOOKS,
    "policies": POLICIES,
    "bindings": POLICY_BINDINGS,
    "deployments": DEPLOYMENTS,
    "daemonsets": DAEMONSETS,
}
_OURS: Final[Mapping[str, Resource]] = {"configmaps": CONFIGMAPS, "leases": LEASES}


STEPS: Final = len(_FIELDS) + len(_OURS) + 1
"""How many steps `gather` tells of."""


async def gather(
    client: Client, *, system: str, now: datetime, step: Callable[[str], None] = lambda _: None
) -> Cluster:
    """Look at everything that may be looked at. What may not is named in `unseen`.

    Args:
        client: the session with the API server.
        system: vramshare's own namespace.
        now: the time of the look.
        step: told what is looked at next.

    Raises:
        KubeError: the API server cannot be reached at all.
    """
    unseen: dict[str, str] = {}
    found: dict[str, Any] = {}
    await client.list(NAMESPACES)  # where even this fails there is nothing to check
    for name, resource in (*_FIELDS.items(), *_OURS.items()):
        step(name)
        try:
            found[name] = tuple((await client.list(resource, namespace=system if name in _OURS else ""))[0])
        except KubeError as reason:
            unseen[name] = str(reason)
    try:
        found["secret"] = await client.get(SECRETS, names.CERTIFICATE_SECRET, namespace=system)
    except NotFoundError:
        pass
    except KubeError as reason:
        unseen["secret"] = str(reason)
    cluster = Cluster(now=now, system=system, unseen=unseen, **found)
    if not cluster.opted_in:
        return cluster
    step("a pod on trial")
    return Cluster(now=now, system=system, unseen=unseen, probe=await _probe(client, cluster.opted_in[0]), **found)


async def _probe(client: Client, namespace: str) -> str:
    """Ask admission about a GPU pod, as the API server would for a user; nothing is created."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": PROBE, "namespace": namespace, "annotations": {names.MEMORY: "1Gi"}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": PROBE,
                    "resources": {
                        "requests": {"cpu": "1m", "memory": "1Mi"},
                        "limits": {"cpu": "1m", "memory": "1Mi"},
                    },
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    try:
        made = await client.create(PODS, body, namespace=namespace, dry_run=True)
    except KubeError as reason:
        return f"in namespace {namespace}: {reason}"
    marked = (made["metadata"].get("annotations") or {}).get(names.STATUS)
    return "" if marked else f"in namespace {namespace}: the pod was let through as it was, without its wall"
