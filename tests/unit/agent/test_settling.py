"""A slice that was made smaller is settled when nobody uses the old size any more."""

from dataclasses import replace

import pytest

from allocator.agent.kubelet import Container
from allocator.agent.region import GpuUse, Region
from allocator.agent.settling import Settling, settled
from allocator.api.allocation import Slice
from allocator.api.isolation import NOBODY
from allocator.api.quantities import GIB, Memory
from allocator.api.settled import Settled
from tests.unit.agent.scenes import GPU, OTHER, UID, container, grant

SMALL = 2 * GIB
KEY = ((UID, "main"), GPU)
EXPECTED = (Settled(allocation="a", container="main", uuid=GPU, memory=Memory(SMALL), cores=25),)


def shown(*, limit: int = SMALL, used: int = GIB, pending: int = 0) -> Container:
    """A container of 4Gi by the ledger, of 2Gi by the kubelet; its processes have read this limit and use so much."""
    use = GpuUse(uuid=GPU, used=used, overhead=0, pending=pending, peak=0, limit=limit, refused=0)
    parts = (Slice(uuid=GPU, memory=Memory(SMALL), cores=25),)
    return container(slices=parts, region=Region(gpus=(use,), processes=()))


def said(one: Container, held: int = GIB) -> tuple[Settled, ...]:
    """What follows."""
    return settled([one], {UID: grant()}, {KEY: held})


def test_everybody_agrees() -> None:
    """Kubelet, region and driver; so does a container that has not touched its GPU yet."""
    assert said(shown()) == EXPECTED
    assert said(replace(shown(), region=None), held=0) == EXPECTED


@pytest.mark.parametrize(
    ("one", "held"),
    [
        (shown(), SMALL + 1),
        (shown(limit=4 * GIB), GIB),
        (shown(used=SMALL + 1), GIB),
        (shown(used=SMALL, pending=1), GIB),
        (replace(shown(), problem="region: cut off"), GIB),
        (replace(shown(), tenant="z/main"), GIB),
        (replace(shown(), uid=OTHER), GIB),
        (container(), GIB),
    ],
    ids=["held", "not read yet", "used", "asked for", "unreadable", "another's", "no grant", "not smaller"],
)
def test_somebody_does_not(one: Container, held: int) -> None:
    """The ledger goes on counting the old size."""
    assert said(one, held) == ()


def test_it_is_said_of_one_revision() -> None:
    """The same size of another time is another matter: in between there may have been more."""
    parts = (Slice(uuid=GPU, memory=Memory(SMALL), cores=25, revision=7),)
    (found,) = said(replace(shown(), slices=parts))
    assert found == replace(EXPECTED[0], revision=7)


def test_less_time_alone_is_smaller_too() -> None:
    """Nothing is held of time: the file is enough."""
    parts = (Slice(uuid=GPU, memory=Memory(4 * GIB), cores=10),)
    (found,) = said(container(slices=parts))
    assert (found.memory.count, found.cores) == (4 * GIB, 10)


def test_what_a_process_of_no_known_container_holds_may_be_its_own() -> None:
    """It counts as if it were."""
    held = {KEY: GIB, ((UID, NOBODY), GPU): GIB}
    assert settled([shown()], {UID: grant()}, held) == EXPECTED
    assert settled([shown()], {UID: grant()}, {**held, ((UID, NOBODY), GPU): GIB + 1}) == ()


def test_it_takes_two_looks_in_a_row() -> None:
    """A process that read the old size a moment before the first may have used it since."""
    settling = Settling()
    assert settling.look(EXPECTED) == ()
    assert settling.look(()) == ()
    assert settling.look(EXPECTED) == ()
    assert settling.look(EXPECTED) == EXPECTED
    assert settling.look((replace(EXPECTED[0], revision=8),)) == ()
