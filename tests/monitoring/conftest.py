"""Both endpoints as they are in life: a webhook with its allocator on an embedded API server, and an agent's port.

The webhook has granted one pod, queued one and refused one; the agent's sample has two containers.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.monitoring.endpoints import Endpoints, endpoints


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Endpoints]:
    """The running endpoints."""
    async with endpoints(tmp_path) as running:
        yield running
