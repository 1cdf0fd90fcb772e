"""What the workers of one node share: everything that is not about a single pod."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping
from typing import Any

from devcluster.client import Client
from devcluster.clock import Clock
from devcluster.events import Recorder
from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.nvidia_host import NvidiaRuntime


@dataclasses.dataclass
class NodeContext:
    """One node's kubelet, as its pod workers see it."""

    name: str
    host_ip: str
    client: Client
    recorder: Recorder
    clock: Clock
    host: HostFolder
    nvidia: NvidiaRuntime
    isolation: str
    base_env: Mapping[str, str]
    allocatable: Mapping[str, str]
    mount_memory: bool
    """Whether memory volumes can be tmpfs mounts on the host."""
    prompt_refresh: bool
    """Whether a changed annotation reaches volumes at once instead of at the next round."""
    private_mounts: tuple[str, ...]
    """Folders whose mounts no container inherits."""


async def first_of(*waits: Awaitable[Any]) -> None:
    """Return when the first of ``waits`` is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
