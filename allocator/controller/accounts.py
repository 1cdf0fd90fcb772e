"""What each namespace holds, and how much of it for pods that nobody has seen yet.

Kept by differences: from what the ledgers show, and from what this replica has decided and is writing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from allocator.api.grant import Grant
from allocator.controller.settings import GiveBackSettings, UnseenSettings
from allocator.core.quota import NONE, Amount, held
from allocator.core.state import FULL_TIME
from allocator.kube import Clock

_ALMOST = 0.9
"""Of the grace: a grant that lasted so long without a pod, and then went, went because no pod came."""


@dataclass(slots=True)
class _Account:
    """One namespace's.

    Attributes:
        grants: what each of its grants takes of a quota, by id.
        unseen: how much of a GPU each grant without a pod holds, by id.
        strikes: when grants were given back because their pods never came.
        used: the sum of `grants`.
    """

    grants: dict[str, Amount] = field(default_factory=dict)
    unseen: dict[str, float] = field(default_factory=dict)
    strikes: deque[float] = field(default_factory=deque)
    used: Amount = NONE


class Accounts:
    """By namespace. Listens to the ledgers and to pods that appear."""

    def __init__(
        self,
        *,
        find: Callable[[str], Grant | None],
        carried: Callable[[str], bool],
        capacity: Callable[[str, str], int],
        clock: Clock,
        unseen: UnseenSettings,
        give_back: GiveBackSettings,
    ) -> None:
        """Prepare.

        Args:
            find: a grant by its id, if a ledger shows it.
            carried: whether a pod has appeared with it.
            capacity: bytes of a node's GPU; 0: not known.
            clock: time.
            unseen: limits.
            give_back: how long a pod may take to appear.
        """
        self._find = find
        self._carried = carried
        self._capacity = capacity
        self._clock = clock
        self._settings = unseen
        self._grace = give_back.grace
        self._accounts: dict[str, _Account] = {}
        self._since: dict[str, float] = {}
        self._whose: dict[str, str] = {}

    def used(self, namespace: str) -> Amount:
        """What a namespace holds, written or about to be."""
        account = self._accounts.get(namespace)
        return NONE if account is None else account.used

    def namespaces(self) -> tuple[str, ...]:
        """Namespaces that hold something."""
        return tuple(name for name, account in self._accounts.items() if account.grants)

    def obstacle(self, namespace: str, *, gpus: int) -> str:
        """Why a namespace's next pod has to pass the queue, in a sentence; empty: it need not.

        Args:
            namespace: the namespace.
            gpus: of the whole cluster.
        """
        account, settings = self._accounts.get(namespace), self._settings
        if account is None:
            return ""
        since = self._clock.monotonic() - settings.remember
        while account.strikes and account.strikes[0] < since:
            account.strikes.popleft()
        if len(account.strikes) >= settings.strikes:
            return (
                f"passes the queue, as all pods of its namespace do: {len(account.strikes)} of its pods were granted a "
                f"GPU lately and never appeared"
            )
        count, holding = len(account.unseen), sum(account.unseen.values())
        if count >= settings.most + int(settings.per_gpu * gpus) or (count and holding >= settings.share * gpus):
            return f"passes the queue: {count} pods of its namespace have been granted GPUs and have not appeared yet"
        return ""

    @contextmanager
    def expecting(self, grant: Grant) -> Iterator[None]:
        """Count a grant while it is being written. What became of it, the ledger tells."""
        self.expect(grant)
        try:
            yield
        finally:
            self.settled(grant)

    def expect(self, grant: Grant) -> None:
        """Count a grant from now on."""
        grant_id, account = grant.allocation.id, self._account(grant.namespace)
        self._whose[grant_id] = grant.namespace
        if grant_id not in account.grants:
            account.grants[grant_id] = held(grant)
            account.used += account.grants[grant_id]
        if not grant.uid and not self._carried(grant_id):
            account.unseen.setdefault(grant_id, self._weight(grant))

    def settled(self, grant: Grant) -> None:
        """The write of a grant has ended: it counts on if the ledger shows it."""
        if self._find(grant.allocation.id) is None:
            self._drop(grant.allocation.id)

    def listed(self, gone: set[str], new: set[str]) -> None:
        """Grants have gone from a ledger, or appeared in it."""
        for grant_id in gone:
            self._strike(grant_id)
            self._drop(grant_id)
        for grant_id in new:
            if (grant := self._find(grant_id)) is not None:
                self._since[grant_id] = self._clock.monotonic()
                self.expect(grant)

    def resized(self, grant_ids: set[str]) -> None:
        """Grants have another size in their ledger."""
        for grant_id in grant_ids:
            if (grant := self._find(grant_id)) is not None:
                self._recount(grant)

    @contextmanager
    def growing(self, grant: Grant) -> Iterator[None]:
        """Count a grant at its new size while that is being written. What became of it, the ledger tells."""
        self._recount(grant)
        try:
            yield
        finally:
            if (shown := self._find(grant.allocation.id)) is not None:
                self._recount(shown)

    def appeared(self, grant_id: str) -> None:
        """Something happened to a pod that carries a grant."""
        account = self._accounts.get(self._whose.get(grant_id, ""))
        if account is not None and self._carried(grant_id):
            account.unseen.pop(grant_id, None)

    def _recount(self, grant: Grant) -> None:
        """A grant that is counted has another size."""
        grant_id = grant.allocation.id
        account = self._accounts.get(self._whose.get(grant_id, ""))
        if account is not None and grant_id in account.grants:
            account.used += held(grant) - account.grants[grant_id]
            account.grants[grant_id] = held(grant)

    def _account(self, namespace: str) -> _Account:
        return self._accounts.setdefault(namespace, _Account())

    def _strike(self, grant_id: str) -> None:
        account = self._accounts.get(self._whose.get(grant_id, ""))
        since = self._since.get(grant_id)
        if account is None or since is None or grant_id not in account.unseen:
            return
        if self._clock.monotonic() - since >= _ALMOST * self._grace:
            account.strikes.append(self._clock.monotonic())

    def _drop(self, grant_id: str) -> None:
        namespace = self._whose.pop(grant_id, "")
        self._since.pop(grant_id, None)
        account = self._accounts.get(namespace)
        if account is None:
            return
        account.used -= account.grants.pop(grant_id, NONE)
        account.unseen.pop(grant_id, None)
        if not (account.grants or account.strikes):
            del self._accounts[namespace]

    def _weight(self, grant: Grant) -> float:
        """How much of how many GPUs a grant holds."""
        total = 0.0
        for one in grant.allocation.totals().values():
            capacity = self._capacity(grant.allocation.node, one.uuid)
            total += max(one.memory.count / capacity if capacity else 1.0, one.cores / FULL_TIME)
        return total
