"""The inventory ConfigMap."""

from dataclasses import replace
from typing import Any

import pytest

from allocator.api.errors import FormatError
from allocator.api.inventory import Gpu, Inventory, Strategy, parse_lines
from allocator.api.quantities import GIB, Memory

T4 = Gpu(uuid="GPU-1", index=0, model="Tesla T4", memory=Memory(15 * GIB), reserve=Memory.mib(256))
INVENTORY = Inventory(
    node="n1", gpus=(T4,), interposer="/opt/vramshare/x.so", driver="580.1", cuda="13.0", interposer_sha256="ab"
)


def test_data_is_readable() -> None:
    """`kubectl describe` shows it as it is."""
    data = INVENTORY.to_data()
    assert data["GPU-1"] == "index: 0\nmodel: Tesla T4\nmemory: 15Gi\nreserve: 256Mi\nforeign: 0\nhealth: ok\n"
    assert "name: n1\nstrategy: env\n" in data["node"]


def test_data_is_read_back() -> None:
    """The allocator sees what the agent saw."""
    assert Inventory.from_data(INVENTORY.to_data()) == INVENTORY


def test_unknown_names_are_passed_over() -> None:
    """Parts of neighbouring versions work side by side."""
    data = INVENTORY.to_data()
    data["node"] += "weather: fine\n"
    data["GPU-1"] += "colour: green\n"
    assert Inventory.from_data(data) == INVENTORY


def test_line_breaks_cannot_forge_lines() -> None:
    """A driver's error message goes into one line, whatever is in it."""
    sick = Inventory(node="n1", gpus=(), reason="broken\nstrategy: env")
    assert Inventory.from_data(sick.to_data()).reason == "broken strategy: env"


@pytest.mark.parametrize(
    ("changes", "usable"),
    [({}, True), ({"reason": "no driver"}, False), ({"strategy": Strategy.NONE}, False), ({"interposer": ""}, False)],
)
def test_node_takes_grants_only_where_everything_is_there(changes: dict[str, Any], usable: object) -> None:
    """A reason, no strategy or no interposer: no grants."""
    assert replace(INVENTORY, **changes).usable is usable


def test_capacity_is_without_the_drivers_part() -> None:
    """And never below nothing."""
    assert T4.capacity == Memory(15 * GIB - 256 * 2**20)
    assert Gpu("GPU-2", 0, "x", Memory.mib(1), reserve=Memory.mib(2)).capacity == Memory(0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "node: the line 'name' is missing"),
        ({"node": "name: n1\n"}, "inventory of n1: strategy None is none of env, cdi, none"),
        ({"node": "name: n1\nstrategy: magic\n"}, "strategy 'magic' is none of env, cdi, none"),
        ({"node": "name: n1\nname: n2\nstrategy: env\n"}, "node: cannot read the line 'name: n2'"),
        ({"node": "name: n1\nstrategy: env\n", "GPU-1": "?"}, r"GPU-1: cannot read the line '\?'"),
        ({"node": "name: n1\nstrategy: env\n", "GPU-1": "model: x\n"}, "GPU-1: the line 'memory' is missing"),
        ({"node": "name: n1\nstrategy: env\n", "GPU-1": "memory: 1Gi\n"}, "GPU-1: the line 'model' is missing"),
        ({"node": "name: n1\nstrategy: env\n", "GPU-1": "model: x\nmemory: lots\n"}, "GPU-1: not a quantity"),
        ({"node": "name: n1\nstrategy: env\n", "GPU-1": "model: x\nmemory: 1Gi\nindex: a\n"}, "GPU-1: "),
    ],
)
def test_data_that_cannot_be_read(data: dict[str, str], message: str) -> None:
    """The message says which key and line."""
    with pytest.raises(FormatError, match=message):
        Inventory.from_data(data)


def test_values_may_hold_colons() -> None:
    """Only the first one parts name and value."""
    assert parse_lines("a: b: c\n\n d :e", where="x") == {"a": "b: c", "d": "e"}
