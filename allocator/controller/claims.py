"""What pods say that they hold: kept beside the ledgers, for when these are lost or say something else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.api import names
from allocator.api.grant import Grant
from allocator.controller.public import owner_of
from allocator.controller.signals import Signals
from allocator.core.claims import claim_of, may_have_started
from allocator.kube import JsonObject


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a pod claims to hold.

    Attributes:
        grant: as its annotations describe it.
        bound: the node that it was given; empty: none yet.
        started: whether a container of it may have been started.
        leaving: whether it is being deleted.
        resize: what its annotations say of another size: that one is wanted, or why it waits. Empty: nothing.
    """

    grant: Grant
    bound: str
    started: bool
    leaving: bool
    resize: str = ""


@dataclass(slots=True)
class ClaimBook:
    """By node and pod, fed with every pod. Anyone may claim: see allocator.core.claims.

    Attributes:
        signals: told of pods whose claim is new or has changed.
    """

    signals: Signals
    _claims: dict[str, Claimed] = field(default_factory=dict)
    _nodes: dict[str, set[str]] = field(default_factory=dict)

    def get(self, key: str) -> Claimed | None:
        """What the pod of this `namespace/name` claims."""
        return self._claims.get(key)

    def on(self, node: str) -> Mapping[str, Claimed]:
        """What pods claim of a node, by `namespace/name`."""
        return {key: self._claims[key] for key in sorted(self._nodes.get(node, ()))}

    def nodes(self) -> tuple[str, ...]:
        """The nodes of which some pod claims something."""
        return tuple(self._nodes)

    def put(self, key: str, pod: JsonObject) -> None:
        """A pod is new or has changed."""
        grant = claim_of(pod, owner=owner_of(pod))
        if grant is None:
            self.drop(key)
            return
        claim = Claimed(
            grant=grant,
            bound=(pod.get("spec") or {}).get("nodeName") or "",
            started=may_have_started(pod),
            leaving=bool(pod["metadata"].get("deletionTimestamp")),
            resize=str((pod["metadata"].get("annotations") or {}).get(names.RESIZE, "")),
        )
        if self._claims.get(key) == claim:
            return
        self.drop(key)
        self._claims[key] = claim
        self._nodes.setdefault(grant.allocation.node, set()).add(key)
        self.signals.claim(key)

    def drop(self, key: str) -> None:
        """A pod is gone, or claims nothing."""
        claim = self._claims.pop(key, None)
        if claim is not None:
            node = claim.grant.allocation.node
            self._nodes[node].discard(key)
            if not self._nodes[node]:
                del self._nodes[node]
