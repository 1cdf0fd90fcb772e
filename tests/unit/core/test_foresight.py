"""What the policies that look ahead learn, and what they do with it."""

from random import Random
from typing import Any

import numpy as np
import pytest

from allocator.api.quantities import Memory, MemoryShare
from allocator.api.request import Choice
from allocator.core.demand import Shape, SliceAsk
from allocator.core.fragmentation import by_gpu, by_model
from allocator.core.mix import Epoch, Kind, Mix
from allocator.core.reserve import Reserve
from allocator.core.resources import Usage
from allocator.core.streams import State, Streams, draws

GIB = 1024**3


def teach(make: Any, *kinds: tuple[int, int]) -> None:
    """Let the cluster see many pods: (thousandths of a GPU, GPUs)."""
    for _ in range(100):
        for milli, gpus in kinds:
            make.fleet.observe(Shape(asks=(SliceAsk(gpus, MemoryShare(milli)),)))


def streams(milli: int, *, cpu: int = 0) -> Streams:
    """Streams of one kind of pod."""
    kind = Kind(ask=SliceAsk(1, MemoryShare(milli)), usage=Usage(cpu=cpu), models=Choice())
    return Streams(Epoch(number=1, kinds=(kind,), shares=np.ones(1)), capacity=16 * GIB, model="t", draws=draws(0))


@pytest.mark.parametrize("policy", ["foresight", "fgd"])
def test_a_leftover_that_the_usual_pods_can_use_is_no_loss(make: Any, policy: str) -> None:
    """Best fit leaves the least over; who looks ahead leaves what the next pods will take."""
    make.node("a", 1)
    make.node("b", 1)
    make.hold("a", 6)
    make.hold("b", 4)
    teach(make, (500, 1))
    assert make.spot(make.pod(4), "best-fit") == "a-0"
    assert make.spot(make.pod(4), policy) == "b-0"


def test_streams_strand_what_no_pod_can_use() -> None:
    """Halves fill an empty GPU to the last, and leave a quarter of a GPU as it is."""
    states = [State(cpu=0, memory=0, milli=milli) for milli in ((1000,), (250,), (250, 1000), (750,))]
    assert streams(500).stranded(states).tolist() == [0, 250, 250, 250]


def test_streams_need_cpu() -> None:
    """A node without cores for the usual pods strands all that it has."""
    states = [State(cpu=cpu, memory=0, milli=(1000,)) for cpu in (0, 2000, 4000)]
    assert streams(500, cpu=2000).stranded(states).tolist() == [1000, 500, 0]


def test_only_sharing_pods_are_in_the_streams() -> None:
    """Where nobody shares a GPU nothing counts as stranded: there is nothing to leave room for."""
    assert streams(1000).stranded([State(cpu=0, memory=0, milli=(700,))]).tolist() == [0]


def test_reserve_counts_places(make: Any) -> None:
    """Places follow what is taken, and are scarce when more pods are to be expected."""
    for name in "abcd":
        make.node(name, 2)
    teach(make, (1000, 2), (10, 1))
    reserve = Reserve()
    assert reserve.scarce(make.fleet.table) == (0,)
    for _ in range(5000):
        make.fleet.observe(Shape(asks=(SliceAsk(1, MemoryShare(1000)),)))
    assert reserve.scarce(make.fleet.table) == ()
    for name in "abcd":
        make.hold(name, 1)
    assert reserve.scarce(make.fleet.table) == (0,)


def test_a_place_for_several_gpus_is_kept_while_such_pods_come(make: Any) -> None:
    """A pair of whole GPUs is not broken while the only other place strands less than a pair is worth."""
    make.node("a", 1)
    make.node("b", 2)
    make.hold("a", 2)
    teach(make, (500, 1))
    assert make.spot(make.pod(8), "foresight") == "b-0"
    teach(make, (1000, 2), (1000, 2), (500, 1))
    assert make.spot(make.pod(8), "foresight") == "a-0"


def test_the_mix_is_believed_once_enough_is_seen() -> None:
    """A few pods make no mix; then shares follow what was seen, the most frequent first."""
    mix = Mix()
    for number in range(63):
        mix.observe(Shape(asks=(SliceAsk(1, Memory(GIB if number % 3 else 2 * GIB)),)))
    assert mix.epoch.kinds == ()
    mix.observe(Shape(asks=(SliceAsk(1, Memory(GIB)),)))
    assert [kind.ask.memory for kind in mix.epoch.kinds] == [Memory(GIB), Memory(2 * GIB)]
    assert float(mix.epoch.shares.sum()) == pytest.approx(1)


def test_the_mix_forgets() -> None:
    """What came long ago weighs less than what comes now."""
    mix = Mix()
    old, new = (Shape(asks=(SliceAsk(1, Memory(size * GIB)),)) for size in (1, 2))
    for _ in range(5000):
        mix.observe(old)
    for _ in range(20000):
        mix.observe(new)
    shares = dict(zip(mix.epoch.kinds, mix.epoch.shares.tolist(), strict=True))
    kept = next((share for kind, share in shares.items() if kind.ask == old.asks[0]), 0.0)
    assert 0 < kept < 0.15, "a fifth of all pods seen, but the oldest"


def test_the_mix_stays_where_it_has_not_moved() -> None:
    """More of the same begins no new epoch, so that nothing is computed anew."""
    mix = Mix()
    for _ in range(5000):
        mix.observe(Shape(asks=(SliceAsk(1, Memory(GIB)),)))
    assert mix.epoch.number == 1


def test_fragmentation_by_model(make: Any) -> None:
    """What is free and useless for the usual pods, in GPUs, per model."""
    make.node("a", 2)
    make.hold("a", 12)
    make.node("b", 1, model="NVIDIA L40S")
    teach(make, (500, 1))
    found = by_model(make.fleet.table)
    assert (found["tesla t4"].total, found["tesla t4"].free) == (2.0, 1.25)
    assert found["tesla t4"].stranded == pytest.approx(0.25)
    assert found["nvidia l40s"].stranded == 0


@pytest.mark.parametrize("seed", range(5))
def test_fragmentation_by_gpu_adds_up_to_that_by_model(make: Any, seed: int) -> None:
    """Whatever is held: what is stranded of a model's GPUs is stranded of one of them."""
    random = Random(seed)
    for number in range(12):
        node = f"n{number}"
        make.node(node, random.choice([1, 2, 4]), model=random.choice(["Tesla T4", "NVIDIA L40S"]))
        make.hold(node, random.randint(1, 15))
    teach(make, (250, 1), (600, 1), (1000, 2))
    table, found = make.fleet.table, by_gpu(make.fleet.table)()
    assert sum(map(sum, found.values())) > 0
    for model, whole in by_model(table).items():
        mine = [row for name, row in found.items() if make.fleet.node(name).gpus[0].model == model]
        assert sum(map(sum, mine)) == pytest.approx(whole.stranded)


def test_fragmentation_by_gpu_names_the_gpu(make: Any) -> None:
    """In the inventory's order; and as it was when asked, though counted later."""
    make.node("a", 2)
    make.hold("a", 12)
    teach(make, (500, 1))
    count = by_gpu(make.fleet.table)
    make.hold("a", 15)
    assert count()["a"][:2] == pytest.approx([0.25, 0.0])


def test_nothing_is_stranded_while_nobody_knows_what_is_usual(make: Any) -> None:
    """A new cluster is not all in pieces."""
    make.node("a", 2)
    (found,) = by_model(make.fleet.table).values()
    assert (found.free, found.stranded) == (2.0, 0.0)
    assert by_gpu(make.fleet.table)() == {}
