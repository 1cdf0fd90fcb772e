"""Pods that belong together, as their annotations say."""

import pytest

from allocator.api import names
from allocator.api.errors import RequestError
from allocator.api.group import Group, parse_group
from allocator.api.request import parse_pod


def test_name_and_size_make_a_group():
    """Both annotations; white space around the number does no harm."""
    assert parse_group({names.GROUP: "train-7", names.GROUP_SIZE: " 4 "}) == Group(name="train-7", size=4)


def test_a_pod_without_the_annotations_is_granted_alone():
    """Most pods."""
    assert parse_group({names.MEMORY: "2Gi"}) is None


def test_a_request_carries_its_group():
    """What is read of a pod names the group too."""
    annotations = {names.MEMORY: "2Gi", names.GROUP: "a", names.GROUP_SIZE: "2"}
    request = parse_pod({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "c"}]}})
    assert request is not None
    assert request.group == Group(name="a", size=2)


@pytest.mark.parametrize(
    ("annotations", "sentence"),
    [
        ({names.GROUP: "a"}, f"annotation {names.GROUP} is 'a': it does not say how many pods the group has; add"),
        ({names.GROUP_SIZE: "2"}, f"annotation {names.GROUP_SIZE} is '2': it says how many pods belong together"),
        ({names.GROUP: "a b", names.GROUP_SIZE: "2"}, "no name for a group; write up to 63 letters"),
        ({names.GROUP: "a", names.GROUP_SIZE: "0"}, "a group has from 1 to 1000 pods; write their number, such as 4"),
        ({names.GROUP: "a", names.GROUP_SIZE: "two"}, "annotation vramshare.io/group-size is 'two'"),
        ({names.GROUP: "a", names.GROUP_SIZE: "٣"}, "a group has from 1 to 1000 pods"),
    ],
)
def test_what_makes_no_sense_is_named(annotations, sentence):
    """Field, value, and what to write."""
    with pytest.raises(RequestError) as caught:
        parse_group(annotations)
    assert sentence in str(caught.value)
