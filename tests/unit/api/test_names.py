"""Names: within Kubernetes' limits, and never the same for two things."""

import pytest

from allocator.api import names

LONG_NODE = "n" * 253
LONG_CONTAINER = "c" * 63


@pytest.mark.parametrize("make", [names.inventory_name, names.ledger_name, names.agent_lease_name])
def test_long_node_names_fit(make: object) -> None:
    """A node's name may be as long as an object's; ours has a prefix before it."""
    assert callable(make)
    name = make(LONG_NODE)
    assert len(name) <= 253
    assert name != make(LONG_NODE[:-1] + "m"), "what is cut off still counts"
    assert make("a") == make("a")


def test_short_names_are_readable() -> None:
    """No digest where none is needed."""
    assert names.inventory_name("n1") == "vramshare-inventory-n1"
    assert names.ledger_name("n1") == "vramshare-ledger-n1"
    assert names.agent_lease_name("n1") == "vramshare-agent-n1"


def test_volumes_of_long_container_names_fit_and_differ() -> None:
    """A volume's name is a DNS label of 63 characters, a container's too."""
    one, other = names.allocation_volume(LONG_CONTAINER), names.allocation_volume(LONG_CONTAINER[:-1] + "d")
    assert len(one) <= 63
    assert len(other) <= 63
    assert one != other


@pytest.mark.parametrize(
    "annotation",
    [
        "vramshare.io/status",
        "vramshare.io/allocation-id",
        "vramshare.io/node",
        "vramshare.io/devices",
        "vramshare.io/reason",
        names.allocation_annotation("c"),
        names.visible_devices_annotation("c"),
        names.preload_annotation("c"),
    ],
)
def test_answers_are_no_requests(annotation: str) -> None:
    """What vramshare writes and what users write are apart."""
    assert names.is_result(annotation)
    assert not names.is_request(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        "vramshare.io/memory",
        "vramshare.io/when-full",
        names.memory_annotation("c"),
        names.cores_annotation("c"),
        names.cores_policy_annotation("c"),
        "vramshare.io/cores-policy",
        names.gpus_annotation("c"),
    ],
)
def test_requests_are_no_answers(annotation: str) -> None:
    """The other way round."""
    assert names.is_request(annotation)
    assert not names.is_result(annotation)


@pytest.mark.parametrize("annotation", ["memory", "example.com/memory", "vramshare.io/inject", "xvramshare.io/memory"])
def test_other_annotations_are_neither(annotation: str) -> None:
    """Only the whole name counts."""
    assert not names.is_request(annotation)
    assert not names.is_result(annotation)
