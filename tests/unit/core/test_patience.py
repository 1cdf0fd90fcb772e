"""One pod that is a hard puzzle must not hold up everybody else's."""

from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.demand import Shape, SliceAsk
from allocator.core.fitting import Patience, assign
from allocator.core.state import NodeState

GPUS = 8
PUZZLE = Shape(asks=tuple(SliceAsk(gpus=1, memory=Memory.mib(5100 + at)) for at in range(GPUS + 1)))
"""More containers than GPUs, each more than half of one: none exists, and it takes long to see."""


def node(name: str, *, step: int = 1) -> NodeState:
    """A node with GPUs of about 10,000 MiB, each `step` MiB larger than the one before."""
    state = NodeState(name=name)
    gpus = (Gpu(uuid=f"{name}-{at}", index=at, model="m", memory=Memory.mib(10_000 + at * step)) for at in range(GPUS))
    state.set_inventory(Inventory(node=name, gpus=tuple(gpus), interposer="/x"))
    return state


def test_a_puzzle_takes_so_much_of_a_decision_and_no_more():
    """The steps are counted over all nodes, not anew on each."""
    patience = Patience()
    assert assign(node("a"), PUZZLE, range(GPUS), patience) is None
    assert patience.left == 0
    assert patience.share() < 100


def test_who_fits_easily_is_placed_after_a_puzzle():
    """Each node gets a fair look, however hard those before it were."""
    shape = Shape(asks=tuple(SliceAsk(gpus=1, memory=Memory.mib(5000)) for _ in range(2 * GPUS)))
    assert assign(node("a"), shape, range(GPUS), Patience(left=0)) is not None


def test_equal_gpus_make_no_puzzle():
    """Which of several equal GPUs is taken makes no difference, so it is tried once."""
    patience = Patience()
    assert assign(node("a", step=0), PUZZLE, range(GPUS), patience) is None
    assert patience.left > Patience().left // 2
