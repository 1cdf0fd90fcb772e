"""What callers hand to the allocator and get back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.api.request import PodRequest


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """A pod that wants slices.

    Attributes:
        request: what it asks of GPUs.
        pod: the Pod as JSON; its spec says which nodes it may use and what it takes of them.
        namespace: the pod's; reviews may carry none inside the object.
        pod_name: its name; `prefix-*` where the API server will make one up.
        owner: `Kind/name/uid` of its controller; empty for a bare pod.
        uid: the pod's UID where it exists already (a queued one); else empty.
        dry_run: decide and write nothing.
        trace: the admission review's uid, for logs.
    """

    request: PodRequest
    pod: Mapping[str, Any]
    namespace: str
    pod_name: str
    owner: str = ""
    uid: str = ""
    dry_run: bool = False
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant that stands in the ledger, and what its node offers, from which the pod's annotations are made."""

    grant: Grant
    inventory: Inventory


def owner_of(pod: Mapping[str, Any]) -> str:
    """`Kind/name/uid` of a pod's controller; empty for a bare pod."""
    for owner in (pod.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner.get('kind', '')}/{owner.get('name', '')}/{owner.get('uid', '')}"
    return ""
