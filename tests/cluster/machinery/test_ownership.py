"""Field ownership: set laws of the tries, and server-side apply on top."""

from typing import Any

import pytest
from devcluster.apiserver import managers, ownership, schema
from devcluster.apiserver.managers import Writer
from devcluster.apiserver.status import ApiError
from hypothesis import given
from hypothesis import strategies as st

MAP = schema.load().type_of("io.k8s.api.core.v1.ConfigMap")
POD = schema.load().type_of("io.k8s.api.core.v1.Pod")
DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xy"), max_size=4)
NOTHING: frozenset[str] = frozenset()


def config(data: dict[str, str]) -> dict[str, Any]:
    """A config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}


def trie(data: dict[str, str]) -> dict[str, Any]:
    """The paths that it claims."""
    return ownership.leaves({"data": data}, MAP)


@given(DATA, DATA)
def test_set_laws(left: dict[str, str], right: dict[str, str]) -> None:
    """Union, difference and intersection of path sets behave as sets do."""
    a, b = set(ownership.paths(trie(left))), set(ownership.paths(trie(right)))
    assert set(ownership.paths(ownership.difference(trie(left), trie(right)))) == a - b
    assert set(ownership.paths(ownership.intersection(trie(left), trie(right)))) == a & b
    if left and right:
        assert set(ownership.paths(ownership.union(trie(left), trie(right)))) == a | b


def writer(name: str) -> Writer:
    """A manager at some time."""
    return Writer(name, "v1", "", "2026-01-01T00:00:00Z")


def apply(live: Any, data: dict[str, str], name: str, *, force: bool = False) -> dict[str, Any]:
    """Apply a config map."""
    return managers.apply(live, config(data), MAP, writer(name), force=force, ignored=NOTHING)


@given(DATA, DATA)
def test_apply_replaces_what_it_applied(first: dict[str, str], second: dict[str, str]) -> None:
    """A manager's second configuration leaves nothing of its first that it no longer names."""
    assert apply(apply(None, first, "one"), second, "one").get("data", {}) == second


@given(DATA, DATA)
def test_apply_conflicts_exactly_on_differences(first: dict[str, str], second: dict[str, str]) -> None:
    """Another manager conflicts where it would change a value, and nowhere else; force takes the field."""
    live = apply(None, first, "one")
    contested = {key for key in first.keys() & second.keys() if first[key] != second[key]}
    if contested:
        with pytest.raises(ApiError) as caught:
            apply(live, second, "two")
        causes = (caught.value.details or {})["causes"]
        assert {cause["field"] for cause in causes} == {f".data.{key}" for key in contested}
    assert apply(live, second, "two", force=True).get("data", {}) == {**first, **second}


def test_shared_fields_outlive_one_owner() -> None:
    """A field that two managers apply stays when one stops to."""
    live = apply(apply(None, {"a": "x"}, "one"), {"a": "x"}, "two")
    assert apply(live, {}, "one")["data"] == {"a": "x"}


def test_list_items_are_owned_by_key() -> None:
    """Two managers own different containers; each takes away only its own."""
    base = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    one = {**base, "spec": {"containers": [{"name": "a", "image": "1"}]}}
    two = {**base, "spec": {"containers": [{"name": "b", "image": "2"}]}}
    live = managers.apply(None, one, POD, writer("one"), force=False, ignored=NOTHING)
    live = managers.apply(live, two, POD, writer("two"), force=False, ignored=NOTHING)
    assert [container["name"] for container in live["spec"]["containers"]] == ["b", "a"] or [
        container["name"] for container in live["spec"]["containers"]
    ] == ["a", "b"]
    rest = managers.apply(live, {**base, "spec": {}}, POD, writer("one"), force=False, ignored=NOTHING)
    assert [container["name"] for container in rest["spec"]["containers"]] == ["b"]


def test_update_takes_fields_over() -> None:
    """An ordinary write owns what it changed, and the applier no longer does."""
    live = apply(None, {"a": "x", "b": "x"}, "one")
    new = {**live, "data": {"a": "y", "b": "x"}, "metadata": dict(live["metadata"])}
    managers.record_update(live, new, MAP, writer("two"), ignored=NOTHING)
    owners = {entry["manager"]: entry["fieldsV1"] for entry in new["metadata"]["managedFields"]}
    assert owners == {"one": {"f:data": {"f:b": {}}}, "two": {"f:data": {"f:a": {}}}}
