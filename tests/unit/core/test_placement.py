"""Where pods go, and why not."""

from typing import Any

import pytest

from allocator.api.errors import RequestError
from allocator.api.quantities import MemoryShare
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.policies import BestFit, Move, Policies


def test_best_fit_fills_the_fullest(make: Any) -> None:
    """Of places that fit, the one with the least left over."""
    make.node("a", 2)
    make.node("b", 2)
    make.hold("b", 8, gpu=1)
    assert make.spot(make.pod(6)) == "b-1"


def test_pack_prefers_a_gpu_in_use_over_a_smaller_node(make: Any) -> None:
    """Pack looks at the GPU first, then at the node."""
    make.node("a", 1)
    make.node("b", 4)
    make.hold("b", 4, gpu=2)
    assert make.spot(make.pod(6), "pack") == "b-2"


def test_spread_takes_the_emptiest(make: Any) -> None:
    """Spread goes where nobody is."""
    make.node("a", 2)
    make.node("b", 2)
    make.hold("a", 1, gpu=0)
    make.hold("b", 1, gpu=0)
    make.hold("b", 1, gpu=1)
    assert make.spot(make.pod(4), "spread") == "a-1"


@pytest.mark.parametrize("policy", Policies().names())
def test_ties_go_by_name(make: Any, policy: str) -> None:
    """Among equal nodes the first by name, whatever order they came in."""
    for name in ("c", "a", "b"):
        make.node(name)
    assert make.spot(make.pod(6), policy) == "a-0"


@pytest.mark.parametrize("policy", Policies().names())
def test_excluded_nodes_are_passed_over(make: Any, policy: str) -> None:
    """A node that another replica has just changed is no candidate."""
    make.node("a")
    make.node("b")
    assert make.spot(make.pod(6), policy, excluded={"a"}) == "b-0"
    assert make.place(make.pod(6), policy, excluded={"a", "b"}).shortfalls[0].nodes == ("a", "b")


@pytest.mark.parametrize("policy", Policies().names())
def test_models_are_respected(make: Any, policy: str) -> None:
    """A pod that wants a model gets it, or nothing."""
    make.node("a")
    make.node("b", model="NVIDIA L40S")
    assert make.spot(make.pod(6, models=["nvidia l40s"]), policy) == "b-0"
    found = make.place(make.pod(6, models=["nvidia h100"]), policy)
    assert found.summary == (
        "needs 6Gi on one GPU; no node may be used: b has none of the GPUs that the pod wants, but NVIDIA L40S"
    )


@pytest.mark.parametrize("policy", Policies().names())
def test_several_gpus_are_of_one_node(make: Any, policy: str) -> None:
    """Slices of a container are on different GPUs of one node."""
    make.node("a", 1)
    make.node("b", 3)
    make.hold("b", 12, gpu=1)
    found = make.place(make.pod(8, gpus=2), policy)
    assert sorted(one.uuid for one in found.containers["c0"]) == ["GPU-b-0", "GPU-b-2"]


def test_containers_may_share_a_gpu(make: Any) -> None:
    """Two containers fit one GPU if their sizes add up, and no further."""
    make.node("a", 1)
    assert make.spot(make.pod(10, 6)) == "a-0"
    assert make.place(make.pod(10, 7)).shortfalls[0].reason == (
        "has room for each container, but not for all of them together"
    )


def test_percent_is_of_each_gpu(make: Any) -> None:
    """A share means as many bytes as the GPU has for it."""
    make.node("a", gib=16)
    make.node("b", gib=48, model="NVIDIA L40S")
    demand = PodDemand(shape=Shape(asks=(SliceAsk(1, MemoryShare(500)),)), containers=("c0",))
    make.hold("a", 10)
    found = make.place(demand)
    assert (found.node, found.containers["c0"][0].memory.rounded()) == ("b", "24Gi")


def test_time_runs_out_before_memory(make: Any) -> None:
    """Reserved time is a resource like memory, and named where it is what is missing."""
    make.node("a")
    make.hold("a", 1, cores=80)
    assert make.spot(make.pod(2, cores=20)) == "a-0"
    assert make.place(make.pod(2, cores=21)).shortfalls[0].reason == (
        "has GPUs with memory enough, but at most 20% of their time free of 21% needed"
    )


def test_reasons_are_grouped_over_nodes(make: Any) -> None:
    """Equal reasons are one group, the largest first; the error carries them."""
    for name in ("a", "b", "c"):
        make.node(name)
        make.hold(name, 6 if name == "c" else 8)
    error = make.place(make.pod(12)).error()
    assert error.summary == "needs 12Gi on one GPU; best is 10Gi on c"
    assert [(one.reason, one.nodes) for one in error.shortfalls] == [
        ("has at most 8Gi free on one GPU of 12Gi needed", ("a", "b")),
        ("has at most 10Gi free on one GPU of 12Gi needed", ("c",)),
    ]


def test_the_sentence_names_what_is_missing(make: Any) -> None:
    """Where there is memory enough, its amount would lead astray."""
    make.node("a")
    make.hold("a", 1, cores=80)
    make.node("b", 2, model="NVIDIA L40S")
    assert make.place(make.pod(2, cores=21, models=["tesla t4"])).summary == (
        "needs 2Gi and 21% of its time on one GPU; "
        "a has GPUs with memory enough, but at most 20% of their time free of 21% needed"
    )
    assert make.place(make.pod(2, gpus=3)).summary == (
        "needs 2Gi on each of 3 GPUs of one node; b has 2 GPUs of 3 needed"
    )


def test_the_sentence_names_what_bars_the_node_with_the_right_gpus(make: Any) -> None:
    """A node without such a GPU is no news."""
    make.node("a", model="NVIDIA L40S")
    make.node("b", cpu=1000)
    make.node("c", model="NVIDIA L40S")
    assert make.place(make.pod(1, cpu=1500, models=["tesla t4"])).summary == (
        "needs 1Gi on one GPU; no node may be used: b has 1000m CPU free of 1500m needed"
    )


def test_full_gpus_are_said_to_be_full(make: Any) -> None:
    """Nothing free is no amount."""
    make.node("a")
    make.hold("a", 16)
    assert make.place(make.pod(1)).summary == "needs 1Gi on one GPU; no GPU that may be used has anything free"


def test_cpu_of_the_node_counts(make: Any) -> None:
    """A GPU without cores beside it is no place."""
    make.node("a", cpu=1000)
    assert make.place(make.pod(1, cpu=1500)).shortfalls[0].reason == "has 1000m CPU free of 1500m needed"


def test_an_unknown_policy_is_the_users_error() -> None:
    """The error names the policies that there are."""
    with pytest.raises(RequestError, match="write one of best-fit, fgd, foresight, pack, spread"):
        Policies().named("tetris")


def test_own_policy_of_single_moves(make: Any) -> None:
    """A subclass that scores moves is asked for each move, not its parent's rating of rows."""

    class Emptiest(BestFit):
        name = "emptiest"

        def score(self, move: Move) -> float:
            return float(move.node.gpus[move.assignment[0][0].gpu].free_memory)

    make.policies.register(Emptiest())
    make.node("a")
    make.node("b")
    make.hold("a", 8)
    assert make.spot(make.pod(4), "emptiest") == "b-0"
    assert make.spot(make.pod(4), "best-fit") == "a-0"
