"""Asking a pod to go, by the Eviction API: so that PodDisruptionBudgets hold and the pod ends in its own time."""

from enum import Enum

from allocator.kube.client import Client
from allocator.kube.errors import BusyError, NotFoundError, StaleError
from allocator.kube.resources import PODS


class Outcome(Enum):
    """What became of a request.

    EVICTED: the pod is going.
    GONE: there is no such pod any more.
    LATER: a disruption budget forbids it now, or the API server is busy. Ask again, not too soon.
    """

    EVICTED = "evicted"
    GONE = "gone"
    LATER = "later"


async def evict(client: Client, *, namespace: str, name: str, uid: str) -> Outcome:
    """Ask one pod to go, the one of this UID and no successor of the same name.

    Raises:
        KubeError: nobody knows, or we may not; asking again does no harm.
    """
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": uid}},
    }
    try:
        await client.act(PODS, name, "eviction", body, namespace=namespace)
    except NotFoundError:
        return Outcome.GONE
    except BusyError:
        return Outcome.LATER
    except StaleError:
        # Another pod has the name by now, or a budget was being counted by somebody else.
        return Outcome.LATER if await _exists(client, namespace=namespace, name=name, uid=uid) else Outcome.GONE
    return Outcome.EVICTED


async def _exists(client: Client, *, namespace: str, name: str, uid: str) -> bool:
    try:
        pod = await client.get(PODS, name, namespace=namespace)
    except NotFoundError:
        return False
    return bool(pod["metadata"]["uid"] == uid)
