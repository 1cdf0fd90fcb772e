"""What pods say that they hold, and how far it is believed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from allocator.api import names
from allocator.api.allocation import Allocation, Slice, result_annotations
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.claims import Fate, claim_of, covers, fate, implausible, may_have_started

INVENTORY = Inventory(node="n", gpus=(Gpu(uuid="GPU-1", index=0, model="T4", memory=Memory.mib(1000)),))
SLICE = Slice("GPU-1", Memory.mib(400), 25)
GRANT = Grant(
    allocation=Allocation(id="a", node="n", containers={"c": (SLICE,)}),
    namespace="team",
    pod="p",
    granted=datetime(2026, 1, 1, tzinfo=UTC),
    uid="u",
)


def with_slices(*slices: Slice) -> Grant:
    """The grant with others."""
    return replace(GRANT, allocation=replace(GRANT.allocation, containers={"c": slices}))


def pod(**metadata) -> dict:
    """The pod that carries the grant."""
    annotations = result_annotations(GRANT.allocation, inventory=INVENTORY, preloads={})
    known = {"namespace": "team", "name": "p", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": known | {"annotations": annotations} | metadata, "spec": {}, "status": {}}


def test_a_pod_repeats_its_grant():
    """All that is needed to book it again stands in its annotations."""
    assert claim_of(pod(), owner="") == GRANT


@pytest.mark.parametrize(
    "odd",
    [
        pod(annotations={}),
        pod(annotations={names.STATUS: names.STATUS_ALLOCATED, names.ALLOCATION_ID: "a"}),
        pod(labels={names.INJECT_LABEL: names.INJECT_DISABLED}),
        pod() | {"status": {"phase": "Succeeded"}},
    ],
    ids=["none", "half", "opted out", "ended"],
)
def test_others_claim_nothing(odd):
    """Whoever opted out was not looked at by the webhook; whoever ended holds nothing."""
    assert claim_of(odd, owner="") is None


@pytest.mark.parametrize(
    ("claim", "bound", "problem"),
    [
        (GRANT, "n", ""),
        (GRANT, "", ""),
        (GRANT, "other", "on node other"),
        (with_slices(Slice("GPU-2", Memory.mib(1))), "n", "no GPU GPU-2"),
        (with_slices(Slice("GPU-1", Memory.mib(1001))), "n", "has 1000Mi"),
        (with_slices(SLICE, SLICE), "n", "one twice"),
    ],
)
def test_what_cannot_be(claim, bound, problem):
    """A claim is measured by the inventory and by where the pod is."""
    found = implausible(claim, INVENTORY, bound=bound)
    assert (problem in found) if problem else found == ""


@pytest.mark.parametrize(
    ("claim", "revision", "covered"),
    [
        (GRANT, 0, True),
        (with_slices(replace(SLICE, memory=Memory.mib(300))), 0, True),
        (with_slices(replace(SLICE, memory=Memory.mib(500))), 0, False),
        (with_slices(replace(SLICE, cores=30)), 0, False),
        (with_slices(replace(SLICE, cores=0)), 0, False),
        (with_slices(replace(SLICE, cores=0)), 1, True),
        (with_slices(replace(SLICE, uuid="GPU-2")), 0, False),
        (with_slices(SLICE, replace(SLICE, uuid="GPU-2")), 0, False),
    ],
)
def test_the_ledger_covers_no_more_than_it_holds(claim, revision, covered):
    """No share of time is no cap, which only a resize under way explains."""
    assert covers(replace(GRANT, revision=revision), claim) is covered


@pytest.mark.parametrize(
    ("held", "problem", "fits", "started", "wanted"),
    [
        (GRANT, "", False, True, Fate.FINE),
        (replace(GRANT, uid="other"), "", True, True, Fate.STOP),
        (with_slices(replace(SLICE, memory=Memory.mib(1))), "", True, True, Fate.STOP),
        (None, "", True, False, Fate.RESTORE),
        (None, "", False, False, Fate.STOP),
        (None, "", False, True, Fate.REINSTATE),
        (None, "no such GPU", False, False, Fate.STOP),
        (None, "no such GPU", False, True, Fate.FINE),
    ],
)
def test_fates(held, problem, fits, started, wanted):
    """The ledger has the last word; without one, what runs is booked and what does not has to fit."""
    found, why = fate(GRANT, held, problem=problem, fits=fits, started=started)
    assert found is wanted
    assert why or wanted is not Fate.STOP


@pytest.mark.parametrize(
    ("node", "status", "wanted"),
    [
        ("", {}, False),
        ("n", {"phase": "Pending"}, False),
        ("n", {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {}}}]}, False),
        ("n", {"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}, True),
        ("n", {"phase": "Running"}, True),
    ],
)
def test_whether_work_may_be_lost(node, status, wanted):
    """A pod whose kubelet has started nothing yet can be stopped without harm."""
    assert may_have_started({"spec": {"nodeName": node}, "status": status}) is wanted
