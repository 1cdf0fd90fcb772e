"""The asynchronous side of the allocator. Its public face is what this package exports.

async with Allocator(AllocatorSettings()) as allocator:
    granted = await allocator.grant(GrantRequest(...))
"""

from allocator.controller.allocator import Allocator
from allocator.controller.public import Granted, GrantRequest, owner_of
from allocator.controller.settings import (
    AgentSettings,
    AllocatorSettings,
    BindSettings,
    CommitSettings,
    EvictionSettings,
    GiveBackSettings,
    LeaderSettings,
    OverQuota,
    QueueSettings,
    UnseenSettings,
)
from allocator.controller.vault import Registration, Stored, Vault
from allocator.core.policies import Policies, Policy
from allocator.kube import Client, Clock, KubeSettings, SystemClock, WatchSettings

__all__ = [
    "AgentSettings",
    "Allocator",
    "AllocatorSettings",
    "BindSettings",
    "Client",
    "Clock",
    "CommitSettings",
    "EvictionSettings",
    "GiveBackSettings",
    "GrantRequest",
    "Granted",
    "KubeSettings",
    "LeaderSettings",
    "OverQuota",
    "Policies",
    "Policy",
    "QueueSettings",
    "Registration",
    "Stored",
    "SystemClock",
    "UnseenSettings",
    "Vault",
    "WatchSettings",
    "owner_of",
]
