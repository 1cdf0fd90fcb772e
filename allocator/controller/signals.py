"""Who is told of what happens in the books."""

from collections.abc import Callable
from dataclasses import dataclass

from allocator.api.grant import Grant

Listener = Callable[[], None]


@dataclass(slots=True)
class Signals:
    """Callbacks; by default nobody listens. Called synchronously, amid a change: note it, and act later.

    Attributes:
        carrier: the id of a grant whose pod appeared, ended or went.
        claim: `namespace/name` of a pod whose claim is new or has changed.
        grants: ids of grants that went and that are new in a ledger.
        inventory: a node whose inventory has changed.
        lost: a node and the grants of its ledger, deleted by somebody.
        resized: ids of grants of another size than before.
        room: something happened that may let a waiting pod in.
        queue: a waiting pod appeared, changed or went.
    """

    carrier: Callable[[str], None] = lambda _: None
    claim: Callable[[str], None] = lambda _: None
    grants: Callable[[set[str], set[str]], None] = lambda _gone, _new: None
    inventory: Callable[[str], None] = lambda _: None
    lost: Callable[[str, list[Grant]], None] = lambda _node, _grants: None
    resized: Callable[[set[str]], None] = lambda _: None
    room: Listener = lambda: None
    queue: Listener = lambda: None
