"""Access to the Kubernetes API; the only importer of kubernetes_asyncio.

`Client` speaks raw JSON, `Reflector` keeps a handler in step with a collection, `EventRecorder` tells people,
`Election` and `renew` use Leases, `evict` asks a pod to go. Whatever goes wrong is a `KubeError`.
"""

from allocator.kube.backoff import Backoff
from allocator.kube.client import JSON_PATCH, MERGE_PATCH, Client
from allocator.kube.clock import Clock, SystemClock
from allocator.kube.connect import KubeSettings
from allocator.kube.errors import (
    AlreadyExistsError,
    BusyError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    KubeError,
    NotFoundError,
    StaleError,
    UnknownOutcomeError,
    UnreachableError,
)
from allocator.kube.events import EventRecorder, Note
from allocator.kube.eviction import Outcome, evict
from allocator.kube.leases import Election, ElectionSettings, renew
from allocator.kube.reflector import Handler, Reflector, Selection, WatchSettings
from allocator.kube.resources import (
    CONFIGMAPS,
    DAEMONSETS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NODES,
    PODS,
    POLICIES,
    POLICY_BINDINGS,
    RESOURCE_QUOTAS,
    RUNTIME_CLASSES,
    SECRETS,
    VALIDATING_WEBHOOKS,
    JsonObject,
    Resource,
)

__all__ = [
    "CONFIGMAPS",
    "DAEMONSETS",
    "DEPLOYMENTS",
    "EVENTS",
    "JSON_PATCH",
    "LEASES",
    "MERGE_PATCH",
    "MUTATING_WEBHOOKS",
    "NAMESPACES",
    "NODES",
    "PODS",
    "POLICIES",
    "POLICY_BINDINGS",
    "RESOURCE_QUOTAS",
    "RUNTIME_CLASSES",
    "SECRETS",
    "VALIDATING_WEBHOOKS",
    "AlreadyExistsError",
    "Backoff",
    "BusyError",
    "Client",
    "Clock",
    "Election",
    "ElectionSettings",
    "EventRecorder",
    "ExpiredError",
    "ForbiddenError",
    "Handler",
    "InvalidError",
    "JsonObject",
    "KubeError",
    "KubeSettings",
    "NotFoundError",
    "Note",
    "Outcome",
    "Reflector",
    "Resource",
    "Selection",
    "StaleError",
    "SystemClock",
    "UnknownOutcomeError",
    "UnreachableError",
    "WatchSettings",
    "evict",
    "renew",
]
