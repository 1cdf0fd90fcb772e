"""The difference of two documents: as few operations as the change takes."""

from typing import Any

import pytest

from webhook.mutation.patch import difference


@pytest.mark.parametrize(
    ("before", "after", "operations"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [{"op": "replace", "path": "/a", "value": 2}]),
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
        ({}, {"a/b~c": 1}, [{"op": "add", "path": "/a~1b~0c", "value": 1}]),
        ({"a": 1}, {}, [{"op": "remove", "path": "/a"}]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, [{"op": "add", "path": "/a/2", "value": 3}]),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, [{"op": "remove", "path": "/a/1"}]),
        ({"a": [1, 2]}, {"a": [0, 1, 2]}, [{"op": "add", "path": "/a/0", "value": 0}]),
        ({"a": [{"b": 1}, 2]}, {"a": [{"b": 3}, 2]}, [{"op": "replace", "path": "/a/0/b", "value": 3}]),
        (
            {"a": [1, 2, 3, 4]},
            {"a": [1, 4]},
            [{"op": "remove", "path": "/a/2"}, {"op": "remove", "path": "/a/1"}],
        ),
    ],
)
def test_operations(before: Any, after: Any, operations: list[dict[str, Any]]) -> None:
    """Each change is one operation at its place, and equal parts have none."""
    assert difference(before, after).patch == operations
