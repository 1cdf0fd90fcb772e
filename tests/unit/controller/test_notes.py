"""What Events say."""

from datetime import UTC, datetime

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.quantities import Memory
from allocator.controller.notes import granted_note

GIB = 1024**3


def test_an_event_names_the_containers_where_there_are_more_than_one():
    """Who reads it wants to know which container got what."""
    containers = {
        "model": (Slice(uuid="GPU-1", memory=Memory(4 * GIB), cores=30),),
        "encoder": (Slice(uuid="GPU-1", memory=Memory(GIB)), Slice(uuid="GPU-2", memory=Memory(GIB))),
    }
    allocation = Allocation(id="a", node="n", containers=containers)
    grant = Grant(allocation=allocation, namespace="team", pod="p", granted=datetime(2026, 1, 1, tzinfo=UTC))
    assert granted_note(grant, pod="p", uid="u").message == (
        "Allocated model: 4Gi, 30% of GPU-1; encoder: 1Gi of GPU-1, 1Gi of GPU-2 on node n"
    )
