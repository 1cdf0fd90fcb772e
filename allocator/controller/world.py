"""The cluster as this replica sees it: one fleet, fed by eight watches.

Everything in here changes synchronously, between two awaits of whoever decides.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from allocator.api import names
from allocator.api.grant import Grant
from allocator.controller.accounts import Accounts
from allocator.controller.claims import ClaimBook
from allocator.controller.namespaces import NamespaceBook
from allocator.controller.nodes import AgentBook, InventoryBook, NodeBook
from allocator.controller.pods import PodBook
from allocator.controller.quotas import AnnotationBook, Quotas, ResourceQuotaBook
from allocator.controller.settings import AllocatorSettings
from allocator.controller.shelf import LedgerShelf
from allocator.controller.signals import Listener, Signals
from allocator.controller.store import Both, Store
from allocator.core.claims import implausible
from allocator.core.fleet import Fleet
from allocator.core.giveback import holder
from allocator.kube import (
    CONFIGMAPS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    RESOURCE_QUOTAS,
    RUNTIME_CLASSES,
    Client,
    Clock,
    Reflector,
    Selection,
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RuntimeBook:
    """RuntimeClasses by name: their selector, tolerations and overhead reach a pod after its admission."""

    _known: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, name: str) -> Mapping[str, Any] | None:
        """A RuntimeClass; None: none of that name is known."""
        return self._known.get(name)

    def put(self, key: str, item: Mapping[str, Any]) -> None:
        """One is new or has changed."""
        self._known[key.partition("/")[2]] = item

    def drop(self, key: str) -> None:
        """One is gone."""
        self._known.pop(key.partition("/")[2], None)


class World:
    """The books of this replica and the reflectors that feed them."""

    def __init__(self, client: Client, settings: AllocatorSettings, *, clock: Clock, random: Random) -> None:
        self.settings = settings
        self.signals = Signals()
        self.fleet = Fleet()
        self.inventories = InventoryBook(fleet=self.fleet, changed=self._inventory_changed)
        self.nodes = NodeBook(fleet=self.fleet, signals=self.signals)
        self.agents = AgentBook(fleet=self.fleet, settings=settings.agents, clock=clock, signals=self.signals)
        self.ledgers = LedgerShelf(fleet=self.fleet, inventories=self.inventories, signals=self.signals, clock=clock)
        self.claims = ClaimBook(signals=self.signals)
        self.pods = PodBook(
            fleet=self.fleet, signals=self.signals, granted=self.ledgers.find, claims=self.claims, clock=clock
        )
        self.ledgers.claims = self.believable
        self.runtimes = RuntimeBook()
        self.namespaces = NamespaceBook()
        self.quotas = Quotas(signals=self.signals)
        self.accounts = Accounts(
            find=self.ledgers.find,
            carried=self._carried,
            capacity=self._capacity,
            clock=clock,
            unseen=settings.unseen,
            give_back=settings.give_back,
        )
        self._reflectors = self._make_reflectors(client, clock, random)

    def believable(self, node: str) -> list[Grant]:
        """What pods claim to hold of a node, as far as it can be true and their namespace is under the webhook."""
        inventory = self.inventories.get(node)
        found = []
        for key, claim in self.claims.on(node).items():
            problem = implausible(claim.grant, inventory, bound=claim.bound)
            if problem:
                _log.warning("claim passed over", pod=key, problem=problem)
            elif self.namespaces.opted_in(claim.grant.namespace):
                found.append(claim.grant)
        return found

    def judge_agents(self) -> None:
        """See which agents have gone silent."""
        self._judge(self.inventories.nodes())

    @property
    def synced(self) -> bool:
        """Whether everything has been seen once."""
        return all(one.synced.is_set() for one in self._needed())

    @property
    def fresh(self) -> bool:
        """Whether everything has been seen, and lately."""
        return all(one.age() <= self.settings.stale_after for one in self._needed())

    async def wait_synced(self) -> None:
        """Return once everything has been seen."""
        await asyncio.gather(*(one.synced.wait() for one in self._needed()))

    def ages(self) -> dict[str, Callable[[], float]]:
        """Age of each watch by what it watches."""
        return {name: one.age for name, one in self._reflectors.items()}

    def runners(self) -> list[tuple[str, Callable[[], Any]]]:
        """The coroutine functions to be run for ever, by name."""
        return [(f"watch {name}", one.run) for name, one in self._reflectors.items()]

    # --- inside ----------------------------------------------------------------------------------------------

    def _needed(self) -> list[Reflector]:
        """RuntimeClasses are a refinement: a cluster that does not let us see them still gets grants."""
        return [one for name, one in self._reflectors.items() if name != RUNTIME_CLASSES.plural]

    def _judge(self, nodes: tuple[str, ...]) -> None:
        """Before the first list of Leases nobody's silence means anything."""
        if self._reflectors[LEASES.plural].synced.is_set():
            self.agents.judge(nodes)

    def _carried(self, grant_id: str) -> bool:
        """Whether the pod of a grant has appeared."""
        grant = self.ledgers.find(grant_id)
        return grant is not None and holder(grant, self.pods.carriers(grant_id)) is not None

    def _capacity(self, node: str, uuid: str) -> int:
        """Bytes of a GPU; 0: not known."""
        inventory = self.inventories.get(node)
        return next((gpu.capacity.count for gpu in (inventory.gpus if inventory else ()) if gpu.uuid == uuid), 0)

    def _inventory_changed(self, node: str) -> None:
        self._judge((node,))
        self.ledgers.book(node)
        self.signals.inventory(node)
        self.signals.room()

    def _make_reflectors(self, client: Client, clock: Clock, random: Random) -> dict[str, Reflector]:
        namespace = self.settings.namespace

        def labelled(kind: str) -> Selection:
            return Selection(CONFIGMAPS, namespace=namespace, labels=f"{names.KIND_LABEL}={kind}")

        wanted: dict[str, tuple[Selection, Any, Listener]] = {
            "inventories": (labelled(names.KIND_INVENTORY), self.inventories, _nothing),
            "ledgers": (labelled(names.KIND_LEDGER), self.ledgers, _nothing),
            NODES.plural: (Selection(NODES), self.nodes, _nothing),
            PODS.plural: (Selection(PODS), self.pods, _nothing),
            LEASES.plural: (Selection(LEASES, namespace=namespace), self.agents, self.judge_agents),
            RUNTIME_CLASSES.plural: (Selection(RUNTIME_CLASSES), self.runtimes, _nothing),
            NAMESPACES.plural: (Selection(NAMESPACES), Both(self.namespaces, AnnotationBook(self.quotas)), _nothing),
            RESOURCE_QUOTAS.plural: (Selection(RESOURCE_QUOTAS), ResourceQuotaBook(self.quotas), _nothing),
        }
        return {
            name: Reflector(
                client,
                selection,
                Store(book.put, book.drop, missed=self.pods.missed if book is self.pods else None),
                clock=clock,
                random=random,
                settings=self.settings.watch,
                after=after,
                reverted=self.ledgers.revert if book is self.ledgers else _nothing,
            )
            for name, (selection, book, after) in wanted.items()
        }


def _nothing() -> None:
    """Nobody asks to be told after each batch."""
