"""What is written is read back as it was: quantities, slices, inventories, requests."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allocator.api.allocation import Allocation, Slice, allocation_of, result_annotations
from allocator.api.errors import RequestError
from allocator.api.inventory import Gpu, Inventory, Strategy
from allocator.api.quantities import CoresPolicy, Memory, MemoryShare, QuantityError, parse_memory_ask, parse_quantity
from allocator.api.request import normalised_annotations, parse_pod

memories = st.integers(0, 2**50).map(Memory) | st.integers(0, 2**20).map(Memory.mib)
uuids = st.uuids().map(lambda uuid: f"GPU-{uuid}")
labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
words = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("Z", "C")), min_size=1, max_size=10
)
texts = st.lists(words, max_size=3).map(" ".join)


@given(memories)
def test_memory(memory: Memory) -> None:
    """Exactly, whatever unit it is shown in."""
    assert Memory.parse(str(memory)) == memory


@given(memories)
def test_rounded_memory_never_says_too_much(memory: Memory) -> None:
    """What a person reads is at most what there is, and within a tenth of its unit."""
    shown = parse_quantity(memory.rounded())
    assert shown <= memory.count
    assert memory.count - shown <= Decimal(memory.count) / 10 + 1


@given(st.integers(1, 1000).map(MemoryShare), memories)
def test_share(share: MemoryShare, memory: Memory) -> None:
    """As text, and as a part of a GPU: never more than its share, but for the least of one mebibyte."""
    assert parse_memory_ask(str(share)) == share
    assert share.of(memory).count <= max(memory.count * share.milli // 1000, 2**20)


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_refused_with_a_remedy(text: str) -> None:
    """Nothing else is raised, and what is understood is a sensible amount."""
    ask: Memory | MemoryShare | QuantityError
    try:
        ask = parse_memory_ask(text)
    except QuantityError as reason:
        ask = reason
    if isinstance(ask, QuantityError):
        assert ask.problem
        assert ask.remedy
    else:
        assert isinstance(ask, MemoryShare) or 2**20 <= ask.count < 2**63


@st.composite
def allocations(draw: st.DrawFn) -> Allocation:
    """Slices of some containers."""
    slices = st.builds(Slice, uuids, memories, st.integers(0, 100), st.sampled_from(CoresPolicy))
    several = st.lists(slices, min_size=1, max_size=3, unique_by=lambda one: one.uuid).map(tuple)
    return Allocation(draw(labels), draw(labels), draw(st.dictionaries(labels, several, min_size=1, max_size=3)))


@given(allocations(), st.sampled_from([Strategy.ENV, Strategy.CDI]), words)
def test_allocation(allocation: Allocation, strategy: Strategy, preload: str) -> None:
    """Through a pod's annotations."""
    inventory = Inventory(node=allocation.node, gpus=(), strategy=strategy, interposer="/opt/vramshare/x.so")
    preloads = dict.fromkeys(allocation.containers, preload)
    assert allocation_of(result_annotations(allocation, inventory=inventory, preloads=preloads)) == allocation


@given(
    labels,
    st.lists(
        st.builds(Gpu, uuids, st.integers(0, 15), words, memories, memories, memories, words),
        max_size=4,
        unique_by=lambda gpu: gpu.uuid,
    ),
    st.sampled_from(Strategy),
    texts,
)
def test_inventory(node: str, gpus: list[Gpu], strategy: Strategy, reason: str) -> None:
    """Through a ConfigMap's data; GPUs come back in the driver's order."""
    ordered = tuple(sorted(gpus, key=lambda gpu: (gpu.index, gpu.uuid)))
    inventory = Inventory(node=node, gpus=ordered, strategy=strategy, reason=reason, interposer="/x.so")
    assert Inventory.from_data(inventory.to_data()) == inventory


sizes = st.sampled_from(["1Gi", "1536Mi", "3e9", "20%", "12.5%", "100%"])
numbers = st.integers(1, 100).map(str)
gpus = st.integers(1, 8).map(str)
NAMES = ("a", "b", "c")


@st.composite
def asking(draw: st.DrawFn) -> dict[str, str]:
    """Annotations that ask, in all their combinations."""
    wide = {"vramshare.io/memory": sizes, "vramshare.io/cores": numbers, "vramshare.io/gpus": gpus}
    own: dict[str, st.SearchStrategy[str]] = {}
    for name in NAMES:
        own |= {f"memory.vramshare.io/{name}": sizes, f"cores.vramshare.io/{name}": numbers}
        own[f"gpus.vramshare.io/{name}"] = gpus
    lists = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(",".join)
    return draw(st.fixed_dictionaries({}, optional={**wide, **own, "vramshare.io/containers": lists}))


def pod(annotations: dict[str, str], containers: list[dict[str, Any]]) -> dict[str, Any]:
    """A pod."""
    return {"metadata": {"annotations": annotations}, "spec": {"containers": containers}}


@given(asking(), st.integers(0, 3))
def test_request_by_annotations_settles(asked: dict[str, str], place: int) -> None:
    """Once written out it reads the same, also with a container put anywhere among the others."""
    containers = [{"name": name} for name in NAMES]
    first = parse_pod(pod(asked, containers))
    if first is None:
        assert not asked
        return
    written = {**normalised_annotations(first), **asked, "vramshare.io/status": "allocated"}
    containers.insert(place, {"name": "injected"})
    assert parse_pod(pod(written, containers)) == first


resources = st.fixed_dictionaries(
    {},
    optional={
        "nvidia.com/gpu": st.integers(0, 8).map(str),
        "nvidia.com/gpumem": st.sampled_from(["0", "512", "3k"]),
        "nvidia.com/gpucores": st.integers(0, 100).map(str),
    },
)


@given(resources, resources)
def test_request_by_resources_settles(one: dict[str, str], other: dict[str, str]) -> None:
    """HAMi's syntax reads the same after it has become annotations."""
    containers = [{"name": "a", "resources": {"limits": one}}, {"name": "b", "resources": {"limits": other}}]
    first = parse_pod(pod({}, containers))
    if first is None:
        return
    written = {**normalised_annotations(first), "vramshare.io/status": "queued"}
    again = parse_pod(pod(written, [{"name": "a"}, {"name": "b"}]))
    assert again is not None
    assert again.containers == first.containers


@given(
    st.dictionaries(
        st.sampled_from(["memory", "cores", "gpus", "models", "uuids", "containers", "when-full", "policy"]).map(
            "vramshare.io/{}".format
        )
        | st.sampled_from(["memory.vramshare.io/a", "cores.vramshare.io/", "gpus.vramshare.io/b"]),
        st.text(max_size=10),
        max_size=4,
    )
)
def test_any_annotations_are_a_request_or_refused(annotations: dict[str, str]) -> None:
    """Only by a RequestError that says what and how else."""
    refusal = None
    try:
        parse_pod(pod(annotations, [{"name": "a"}]))
    except RequestError as reason:
        refusal = reason
    assert refusal is None or (refusal.where and refusal.remedy)
