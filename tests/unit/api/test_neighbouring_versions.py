"""Webhook and agent of neighbouring versions side by side: each reads what the other writes, and loses none of it."""

from datetime import UTC, datetime

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import NODE_KEY, Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.ledger import Ledger

GPU = Gpu(uuid="GPU-1", index=0, model="Tesla T4", memory=Memory.mib(1000))
INVENTORY = Inventory(node="n1", gpus=(GPU,), driver="580", interposer="/opt/vramshare/lib.so")
GRANT = Grant(
    Allocation(id="g1", node="n1", containers={"c": (Slice("GPU-1", Memory.mib(100), 10),)}),
    "team",
    "p",
    datetime(2026, 1, 1, tzinfo=UTC),
    uid="u1",
)


def test_inventory_of_a_newer_agent_is_read() -> None:
    """Lines and keys that it adds, and a higher format, take nothing away from what is known."""
    data = INVENTORY.to_data()
    newer = {
        **{key: f"{text}\nnew-name: new value" for key, text in data.items()},
        "new-key": "whatever",
        NODE_KEY: data[NODE_KEY].replace("format: 1", "format: 2") + "\nnew-name: x",
    }
    assert Inventory.from_data(newer) == INVENTORY


def test_inventory_of_an_older_agent_is_read() -> None:
    """One that says no more than what the first version said."""
    lines = {
        "node": "name: n1\nstrategy: env\ninterposer: /opt/vramshare/lib.so",
        "GPU-1": "index: 0\nmodel: Tesla T4\nmemory: 1000Mi",
    }
    found = Inventory.from_data(lines)
    assert found.usable
    assert found.gpus[0].capacity == Memory.mib(1000)


def test_ledger_entry_of_a_newer_webhook_is_read_and_kept() -> None:
    """Both replicas write one ledger during an upgrade: what the newer adds stays when the older writes."""
    text = GRANT.to_text().rstrip() + "\nnew-name: new value"
    ledger = Ledger.from_data("n1", {"g1": text})
    assert not ledger.unreadable
    assert ledger.grants["g1"] == GRANT
    again = ledger.grants["g1"].seen(name="p", uid="u2").to_text(over=text)
    assert "new-name: new value" in again
    assert Grant.from_text("g1", again, node="n1").uid == "u2"


def test_ledger_entry_of_an_older_webhook_is_read() -> None:
    """Pod, time and slices are all that it needs."""
    text = "pod: team/p\ngranted: 2026-01-01T00:00:00Z\nslice: c GPU-1 memory=100Mi cores=10"
    assert Grant.from_text("g1", text, node="n1").allocation == GRANT.allocation


def test_allocation_line_of_a_newer_webhook_is_read() -> None:
    """The interposer of a running pod, and an older agent, pass over what they do not know."""
    assert Slice.parse("GPU-1 new=1 memory=100Mi cores=10 other=x") == GRANT.allocation.containers["c"][0]
