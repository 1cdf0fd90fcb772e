"""The difference of two documents, applied to the first, is the second."""

import copy
from typing import Any

import jsonpatch
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.mutation.patch import difference, same

scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "a/b", "~1", "0", "-"]) | st.just(1.0)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["a", "b", "a/b", "~0", "", "0"]), inner, max_size=4)
    ),
    max_leaves=20,
)
documents = st.dictionaries(st.sampled_from(["a", "b", "c/d"]), values, max_size=3)


@given(documents, documents)
@settings(max_examples=500, deadline=None)
def test_applied_difference_is_the_second_document(before: dict[str, Any], after: dict[str, Any]) -> None:
    """For any two documents, with keys that need escaping and values that Python takes for equal."""
    patch = difference(before, after)
    assert same(jsonpatch.apply_patch(copy.deepcopy(before), patch), after)


@given(documents)
def test_equal_documents_have_no_difference(document: dict[str, Any]) -> None:
    """Not even where nothing is shared."""
    assert difference(document, copy.deepcopy(document)).patch == []
