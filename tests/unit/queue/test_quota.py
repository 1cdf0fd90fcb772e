"""Quotas: how they are read, and what is over."""

import pytest

from allocator.api import names
from allocator.api.quantities import GIB, Memory
from allocator.api.request import parse_pod
from allocator.core.quota import NONE, Amount, Quota, annotated_quota, joined, least, resource_quota


def hard(**values: str) -> dict:
    """A ResourceQuota with these hard limits; a double underscore is a slash."""
    return {"metadata": {"name": "q"}, "spec": {"hard": {k.replace("__", "/"): v for k, v in values.items()}}}


def test_annotations_are_read():
    """Memory as a quantity, time in percent of one GPU, slices as a number."""
    found = annotated_quota({names.QUOTA_MEMORY: "16Gi", names.QUOTA_CORES: "250", names.QUOTA_GPUS: "4"})
    assert found == Quota(memory=Memory(16 * GIB), cores=250, gpus=4)


def test_resource_quotas_are_read_as_hami_counts():
    """`gpumem` in MiB, also as the API server rewrites it; other keys are none of ours."""
    spec = {"limits.nvidia.com/gpumem": "3k", "limits.nvidia.com/gpucores": "50", "requests.nvidia.com/gpu": "2"}
    found = resource_quota({"metadata": {"name": "q"}, "spec": {"hard": {**spec, "pods": "5"}}})
    assert found == Quota(memory=Memory.mib(3000), cores=50, gpus=2)
    assert resource_quota({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}}) is None
    assert annotated_quota({"mine": "1"}) is None


def test_several_quotas_hold_at_once():
    """Of each kind the smaller limit."""
    one = annotated_quota({names.QUOTA_MEMORY: "16Gi", names.QUOTA_GPUS: "4"})
    other = resource_quota({"spec": {"hard": {"requests.nvidia.com/gpu": "2"}}})
    assert joined([one, None, other]) == Quota(memory=Memory(16 * GIB), gpus=2)
    assert joined([None]) is None


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        (names.QUOTA_MEMORY, "16", "16? write 16Gi"),
        (names.QUOTA_MEMORY, "lots", "'lots'"),
        (names.QUOTA_GPUS, "1.5", "not a whole number"),
        (names.QUOTA_CORES, "-1", "not a whole number"),
    ],
)
def test_a_quota_that_cannot_be_read_lets_nothing_in(key, value, word):
    """It says which field, and what to write; even the smallest pod is over it."""
    found = annotated_quota({key: value})
    assert found is not None
    sentence = found.excess(NONE, NONE)
    assert word in sentence
    assert key in sentence


def test_a_scoped_resource_quota_lets_nothing_in():
    """It limits something that we do not tell apart; to pass over it would be to enforce nothing."""
    found = resource_quota(
        {"metadata": {"name": "q"}, "spec": {"hard": {"requests.nvidia.com/gpu": 1}, "scopes": ["x"]}}
    )
    assert found is not None
    assert "ResourceQuota q limits GPUs for a part of the pods only" in found.excess(NONE, NONE)


@pytest.mark.parametrize(
    ("quota", "asked", "sentence"),
    [
        (
            Quota(memory=Memory(16 * GIB)),
            Amount(memory=4 * GIB),
            "over the namespace's quota: needs 4Gi of GPU memory; 14Gi of 16Gi are in use",
        ),
        (Quota(cores=150), Amount(cores=60), "over the namespace's quota: needs 60% of a GPU's time; 100% of 150%"),
        (Quota(gpus=2), Amount(gpus=1), "over the namespace's quota: needs 1 slices; 2 of 2 are in use"),
        (Quota(memory=Memory(18 * GIB), cores=160, gpus=3), Amount(4 * GIB, 60, 1), ""),
    ],
)
def test_what_is_over_is_said(quota, asked, sentence):
    """What is needed, what is used, what the limit is; up to the limit nothing is over."""
    found = quota.excess(Amount(memory=14 * GIB, cores=100, gpus=2), asked)
    assert found.startswith(sentence)
    assert bool(found) == bool(sentence)


def test_a_pod_takes_at_least_what_it_names():
    """A share of a GPU's memory is not known before the GPU is."""
    annotations = {
        "memory.vramshare.io/a": "2Gi",
        "cores.vramshare.io/a": "25",
        "gpus.vramshare.io/a": "2",
        "memory.vramshare.io/b": "10%",
    }
    pod = {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    request = parse_pod(pod)
    assert request is not None
    assert least(request) == Amount(memory=4 * GIB, cores=50, gpus=3)
