"""The node pin."""

from hypothesis import given
from hypothesis import strategies as st

from allocator.core.pin import pinned_affinity

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PIN = {"key": "metadata.name", "operator": "In", "values": ["n1"]}


def terms(affinity):
    """The required terms."""
    return affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]


def test_a_pod_without_affinity_gets_one_term():
    """The pin alone."""
    assert terms(pinned_affinity(None, "n1")) == [{"matchFields": [PIN]}]


def test_every_term_is_pinned_and_keeps_what_it_said():
    """Terms are alternatives: one without the pin would be a way out."""
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    field = {"key": "metadata.name", "operator": "NotIn", "values": ["n9"]}
    before = {
        "podAntiAffinity": {"x": 1},
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}],
            REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [zone]}, {"matchFields": [field]}]},
        },
    }
    after = pinned_affinity(before, "n1")
    assert terms(after) == [{"matchExpressions": [zone], "matchFields": [PIN]}, {"matchFields": [field, PIN]}]
    assert after["podAntiAffinity"] == {"x": 1}
    assert after["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] == [{"weight": 1}]


TERMS = st.lists(st.fixed_dictionaries({}, optional={"matchExpressions": st.just([{"key": "a"}])}), max_size=4)


@given(TERMS)
def test_pinning_twice_is_pinning_once(listed):
    """The webhook may see a pod again that it has pinned."""
    once = pinned_affinity({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": listed}}}, "n1")
    assert pinned_affinity(once, "n1") == once
    assert len(terms(once)) == max(1, len(listed))
