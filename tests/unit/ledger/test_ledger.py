"""The ledger as a value."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.api import names
from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.ledger import Changes, Ledger, ledger_object, node_of, overbooked, too_large

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NODE = "gpu-node-1"
INVENTORY = Inventory(
    node=NODE,
    gpus=tuple(
        Gpu(uuid=f"GPU-{at}", index=at, model="Tesla T4", memory=Memory.mib(1000), reserve=Memory.mib(100))
        for at in range(3)
    ),
    interposer="/opt/vramshare/libvramshare-1.so",
)


def grant(key: str = "a", *, gpu: str = "GPU-0", mib: int = 100, cores: int = 0, uid: str = "") -> Grant:
    """A grant of one slice."""
    return Grant(
        allocation=Allocation(
            id=key, node=NODE, containers={"worker": (Slice(uuid=gpu, memory=Memory.mib(mib), cores=cores),)}
        ),
        namespace="team",
        pod=f"pod-{key}",
        granted=NOON,
        uid=uid,
    )


def ledger(*grants: Grant) -> Ledger:
    """A ledger that holds these."""
    return Ledger(node=NODE).apply(Changes(add=grants))


def test_what_is_written_is_what_is_read():
    """A ledger survives its ConfigMap."""
    before = ledger(grant("a"), grant("b", gpu="GPU-1", cores=30, uid="u-1"))
    assert Ledger.from_data(NODE, before.data) == before


def test_object_carries_name_labels_and_resource_version():
    """A rewritten ledger is found by its labels, swaps on the version read, and keeps what others put into it."""
    body = ledger_object(
        ledger(grant()), namespace="system", metadata={"resourceVersion": "7", "labels": {"team": "x"}}
    )
    assert body["metadata"]["name"] == names.ledger_name(NODE)
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["metadata"]["labels"] == {"team": "x", names.KIND_LABEL: "ledger", names.PART_OF_LABEL: "vramshare"}
    assert node_of(body) == NODE


def test_apply_adds_removes_and_marks_in_one_go():
    """A batch may free memory and hand it out again."""
    after = ledger(grant("a"), grant("b")).apply(
        Changes(add=(grant("c"),), remove=frozenset({"a"}), seen={"b": ("pod-b-x", "u-9")})
    )
    assert set(after.grants) == set(after.data) == {"b", "c"}
    assert (after.grants["b"].pod, after.grants["b"].uid) == ("pod-b-x", "u-9")
    assert "uid: u-9" in after.data["b"]


def test_apply_to_what_is_not_there_changes_nothing():
    """Removing and marking twice is the same as once."""
    before = ledger(grant("a", uid="u-1"))
    assert before.apply(Changes(remove=frozenset({"x"}), seen={"y": ("p", "u"), "a": ("other", "u-2")})) == before


def test_admit_takes_until_memory_is_gone():
    """Capacity is memory less the driver's reserve, to the byte."""
    full = [grant("a", mib=450), grant("b", mib=450), grant("c", mib=1)]
    admitted, refused = Ledger(node=NODE).admit(full, INVENTORY)
    assert [one.allocation.id for one in admitted] == ["a", "b"]
    assert refused == {"c": f"node {NODE}: GPU-0 has 0 bytes left of {900 * 1024**2}"}


def test_admit_takes_until_time_is_gone():
    """Cores are reserved up to 100 percent; a slice without a cap reserves none."""
    asked = [grant("a", cores=60), grant("b", cores=50), grant("c", cores=40), grant("d", cores=0)]
    admitted, refused = Ledger(node=NODE).admit(asked, INVENTORY)
    assert [one.allocation.id for one in admitted] == ["a", "c", "d"]
    assert "GPU-0 has 40% of its time left" in refused["b"]


def test_admit_refuses_unknown_gpus_and_known_ids():
    """A grant goes to a GPU that is there, under an id that is free."""
    _, refused = ledger(grant("a")).admit([grant("b", gpu="GPU-9"), grant("a", mib=1)], INVENTORY)
    assert "no GPU GPU-9" in refused["b"]
    assert "has an entry a already" in refused["a"]


@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        ("pod: x/y\nslice: worker GPU-0 memory=lots cores=1\n", "GPU-0"),
        ("format: 9\nheld: GPU-1/3 of it\n", "GPU-1"),
    ],
)
def test_unreadable_entry_blocks_the_gpu_it_names(text, blocked):
    """An entry of a newer version frees nothing: the GPUs it names are taken, others are not."""
    found = Ledger.from_data(NODE, {"odd": text})
    _, refused = found.admit([grant(str(at), gpu=f"GPU-{at}", mib=1) for at in range(3)], INVENTORY)
    assert list(refused) == [blocked.removeprefix("GPU-")]
    [held] = found.holds(INVENTORY)
    assert held.allocation.totals()[blocked].memory == Memory.mib(1000)


def test_unreadable_entry_with_readable_slices_blocks_just_those():
    """What can be told of an odd entry is enough."""
    text = "pod: x/y\ngranted: noon\nslice: worker GPU-0 memory=400Mi cores=10\n"
    found = Ledger.from_data(NODE, {"odd": text})
    admitted, _ = found.admit([grant("a", mib=500, cores=90)], INVENTORY)
    assert admitted
    assert not found.admit([grant("a", mib=501)], INVENTORY)[0]
    assert found.holds(INVENTORY)[0].allocation.totals()["GPU-0"] == Slice("GPU-0", Memory.mib(400), 10)


def test_entry_that_names_nothing_closes_the_node():
    """Nobody knows what it holds, so everything is held."""
    found = Ledger.from_data(NODE, {"odd": "???"})
    assert not found.admit([grant("a", mib=1)], INVENTORY)[0]
    assert set(found.holds(INVENTORY)[0].allocation.totals()) == {"GPU-0", "GPU-1", "GPU-2"}


def test_unreadable_entry_is_written_back_as_it_was():
    """We do not understand it, so we do not touch it."""
    found = Ledger.from_data(NODE, {"odd": "format: 9\n"}).apply(Changes(add=(grant(),), remove=frozenset({"odd"})))
    assert found.data["odd"] == "format: 9\n"


def test_overbooked_finds_memory_time_and_doubles():
    """The executable form of invariant 1 sees each way to break it."""
    double = Grant(
        allocation=Allocation(
            id="d", node=NODE, containers={"w": (Slice("GPU-2", Memory(1)), Slice("GPU-2", Memory(1)))}
        ),
        namespace="t",
        pod="p",
        granted=NOON,
    )
    found = overbooked(
        ledger(grant("a", mib=901), grant("b", gpu="GPU-1", cores=60), grant("c", gpu="GPU-1", cores=60), double),
        INVENTORY,
    )
    assert len(found) == 3
    assert not overbooked(ledger(grant("a", mib=900, cores=100)), INVENTORY)


def test_too_large_is_about_what_the_api_server_takes():
    """A ConfigMap holds at most a mebibyte."""
    assert not too_large({"a": "x" * 1000})
    assert too_large({"a": "x" * 1_000_001})


GRANTS = st.builds(
    grant,
    st.text("abcdef", min_size=1, max_size=3),
    gpu=st.sampled_from(["GPU-0", "GPU-1", "GPU-2", "GPU-9"]),
    mib=st.integers(1, 950),
    cores=st.integers(0, 100),
)


@given(st.lists(st.tuples(st.lists(GRANTS, max_size=8), st.lists(st.text("abcdef", min_size=1, max_size=3)))))
def test_no_sequence_of_batches_overbooks(batches):
    """Invariant 1 holds after every batch, whatever is asked and given back in whatever order."""
    now = Ledger(node=NODE)
    for asked, removed in batches:
        unique = list({one.allocation.id: one for one in asked}.values())
        now = now.apply(Changes(remove=frozenset(removed)))
        admitted, refused = now.admit(unique, INVENTORY)
        assert len(admitted) + len(refused) == len(unique)
        now = now.apply(Changes(add=admitted))
        assert overbooked(now, INVENTORY) == []
        assert Ledger.from_data(NODE, now.data) == now


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=80), max_size=5), GRANTS)
def test_odd_entries_never_free_anything(entries, held):
    """Whatever else stands in a ledger, a readable grant goes on counting, and reading never fails."""
    data = {**entries, "real": Grant(held.allocation, "t", "p", NOON).to_text()}
    uuid = held.allocation.uuids()[0]
    found = Ledger.from_data(NODE, data)
    assert found.uses[uuid].memory >= held.allocation.totals()[uuid].memory.count
    assert dict(found.data) == data
