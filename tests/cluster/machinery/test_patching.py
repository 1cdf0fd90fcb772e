"""The three sorts of patch, as pure functions."""

import copy
from typing import Any

import pytest
from devcluster.apiserver import schema
from devcluster.apiserver.patching import PatchError, json_patch, merge_patch, strategic_merge
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=8,
)
POD = schema.load().type_of("io.k8s.api.core.v1.PodSpec")


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ({"op": "add", "path": "/a/1", "value": 9}, {"a": [1, 9, 2], "b": {"c/d": 1}}),
        ({"op": "add", "path": "/a/-", "value": 9}, {"a": [1, 2, 9], "b": {"c/d": 1}}),
        ({"op": "remove", "path": "/b/c~1d"}, {"a": [1, 2], "b": {}}),
        ({"op": "replace", "path": "/a/0", "value": None}, {"a": [None, 2], "b": {"c/d": 1}}),
        ({"op": "move", "from": "/a/0", "path": "/b/x"}, {"a": [2], "b": {"c/d": 1, "x": 1}}),
        ({"op": "copy", "from": "/b", "path": "/z"}, {"a": [1, 2], "b": {"c/d": 1}, "z": {"c/d": 1}}),
        ({"op": "test", "path": "/a/1", "value": 2}, {"a": [1, 2], "b": {"c/d": 1}}),
        ({"op": "test", "path": "/nothing", "value": None}, {"a": [1, 2], "b": {"c/d": 1}}),
    ],
)
def test_json_patch(operation: dict[str, Any], wanted: Any) -> None:
    """Every operation, with escapes and the end of a list."""
    assert json_patch({"a": [1, 2], "b": {"c/d": 1}}, [operation]) == wanted


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/a/5", "value": 1},
        {"op": "add", "path": "/a/0"},
        {"op": "test", "path": "/a/0", "value": 7},
        {"op": "frob", "path": "/a"},
        {"path": "/a"},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_json_patch_fails(operation: dict[str, Any]) -> None:
    """What does not apply is an error, not a guess."""
    with pytest.raises(PatchError):
        json_patch({"a": [1]}, [operation])


@given(JSON, JSON)
def test_merge_patch_is_idempotent(target: Any, patch: Any) -> None:
    """Applying a merge patch twice is applying it once, and leaves its arguments alone."""
    before = copy.deepcopy((target, patch))
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert (target, patch) == before


def test_strategic_lists_merge_by_key() -> None:
    """Containers merge by name, their environment by name, new ones come last."""
    old = {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
    patch = {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "c"}]}
    merged = strategic_merge(old, patch, POD)
    assert [container["name"] for container in merged["containers"]] == ["a", "b", "c"]
    assert [variable["name"] for variable in merged["containers"][0]["env"]] == ["X", "Y"]
    assert merged["containers"][0]["image"] == "1"


def test_strategic_directives() -> None:
    """Items are deleted, lists replaced, orders set, keys retained."""
    old = {"containers": [{"name": "a"}, {"name": "b"}], "volumes": [{"name": "v", "emptyDir": {}}]}
    gone = strategic_merge(old, {"containers": [{"name": "a", "$patch": "delete"}]}, POD)
    assert gone["containers"] == [{"name": "b"}]
    replaced = strategic_merge(old, {"containers": [{"$patch": "replace"}, {"name": "z"}]}, POD)
    assert replaced["containers"] == [{"name": "z"}]
    ordered = strategic_merge(old, {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}, POD)
    assert [container["name"] for container in ordered["containers"]] == ["b", "a"]
    volume = {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}
    assert strategic_merge(old, {"volumes": [volume]}, POD)["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}]


def test_strategic_item_needs_its_key() -> None:
    """An item without the merge key is refused."""
    with pytest.raises(PatchError, match="merge key: name"):
        strategic_merge({"containers": []}, {"containers": [{"image": "x"}]}, POD)


def test_atomic_lists_are_replaced() -> None:
    """A list without a merge key is replaced as a whole."""
    assert strategic_merge({"tolerations": [{"key": "a"}]}, {"tolerations": []}, POD)["tolerations"] == []
