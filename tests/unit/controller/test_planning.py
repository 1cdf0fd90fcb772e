"""From a placement to a grant."""

from datetime import UTC, datetime

from allocator.api.allocation import Slice
from allocator.api.grant import Grant
from allocator.api.quantities import CoresPolicy, Memory
from allocator.api.request import parse_pod
from allocator.controller.planning import new_grant, shape_of
from allocator.controller.public import GrantRequest
from allocator.core.placement import Placement

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def asked(**annotations):
    """A pod of the containers `a` and `b` with 25 percent of a GPU each."""
    own = {f"{key.replace('_', '-')}.vramshare.io/a": value for key, value in annotations.items()}
    pod = {
        "metadata": {"annotations": {"vramshare.io/cores": "25", "vramshare.io/containers": "a,b"} | own},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
    }
    return GrantRequest(request=parse_pod(pod), pod=pod, namespace="team", pod_name="p")


def test_a_grant_keeps_each_containers_policy():
    """Down to the ledger's text, from which a resize and a restart read it."""
    slices = (Slice("GPU-1", Memory.mib(1), 25),)
    placement = Placement(node="n", containers={"a": slices, "b": slices}, score=0.0)
    grant = new_grant(asked(cores_policy="burst"), placement, grant_id="g", now=NOW)
    read = Grant.from_text("g", grant.to_text(), node="n")
    assert [read.allocation.containers[name][0].policy for name in ("a", "b")] == [CoresPolicy.BURST, CoresPolicy.HARD]


def test_pods_of_different_policy_do_not_share_a_grant():
    """A repeated create finds its own grant by the shape."""
    assert shape_of(asked().request) != shape_of(asked(cores_policy="burst").request)
