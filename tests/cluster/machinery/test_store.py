"""The store: versions, compare-and-swap, the past."""

from typing import Any

import pytest
from devcluster.apiserver.status import ApiError
from devcluster.apiserver.store import Collection, Entry, Store
from hypothesis import given
from hypothesis import strategies as st


def write(collection: Collection, name: str, **data: Any) -> Entry:
    """Store a version over whatever is there."""
    entry = collection.write(
        {"metadata": {"name": name}, **data}, namespace="n", name=name, expected=collection.get("n", name)
    )
    assert entry is not None
    return entry


def test_write_needs_the_current_version() -> None:
    """A write that expects another version than the current one changes nothing."""
    collection = Store().collection("c")
    first = write(collection, "a")
    write(collection, "a", x=1)
    assert collection.write({"metadata": {}}, namespace="n", name="a", expected=first) is None
    assert collection.remove(first) is None
    assert collection.get("n", "a") is not None


def test_revisions_are_shared() -> None:
    """Collections count revisions together, so that one number orders everything."""
    store = Store()
    revisions = [write(store.collection(name), "a").revision for name in ("x", "y", "x")]
    assert revisions == sorted(set(revisions))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20), st.data())
def test_the_past_can_be_listed(steps: list[tuple[str, bool]], data: st.DataObject) -> None:
    """A list at an older revision is what a list then was."""
    store = Store()
    collection = store.collection("c")
    history = {store.revision: [entry.revision for entry in collection.entries("n")]}
    for name, delete in steps:
        current = collection.get("n", name)
        if delete and current is not None:
            collection.remove(current)
        else:
            write(collection, name)
        history[store.revision] = [entry.revision for entry in collection.entries("n")]
    revision = data.draw(st.sampled_from(sorted(history)))
    assert [entry.revision for entry in collection.entries_at(revision, "n")] == history[revision]


def test_the_forgotten_past_is_gone() -> None:
    """What fell out of the window answers 410, for lists and for watches."""
    store = Store(window=2)
    collection = store.collection("c")
    revisions = [write(collection, "a").revision for _ in range(4)]
    assert [event.revision for event in collection.since(revisions[1])] == revisions[2:]
    for ask in (collection.since, collection.entries_at):
        with pytest.raises(ApiError) as caught:
            ask(revisions[0])
        assert caught.value.code == 410
