"""What `vramshare explain` reads and shows. That it reads a cluster is tested on one."""

import pytest

from allocator.api.allocation import Slice
from allocator.api.errors import RequestError, Shortfall
from allocator.api.quantities import Memory
from allocator.cli.explain import pod_in, table
from allocator.core.explain import Explanation

POD = {"kind": "Pod", "spec": {"containers": [{"name": "a"}]}}


@pytest.mark.parametrize(
    "document",
    [
        POD,
        {"kind": "Deployment", "spec": {"template": POD}},
        {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": POD}}}},
    ],
)
def test_a_workload_stands_for_its_pod(document: dict[str, object]) -> None:
    """A Pod, a Deployment and a CronJob all hold one pod."""
    assert pod_in(document) == POD


def test_a_document_without_a_pod_is_refused() -> None:
    """A Service has no pod: the error says what to give instead."""
    with pytest.raises(RequestError, match="give a Pod, a Deployment"):
        pod_in({"kind": "Service", "spec": {"ports": []}})


def test_table_of_a_fit() -> None:
    """The table says where, how many more, and why not elsewhere, with some of the nodes named."""
    shown = table(
        Explanation(
            policy="foresight",
            node="gpu-1",
            containers={"main": (Slice(uuid="GPU-1", memory=Memory.mib(2048), cores=25),)},
            score=-3.5,
            alternatives=2,
            summary="",
            shortfalls=(Shortfall("is cordoned", tuple(f"n{at}" for at in range(7))),),
        )
    )
    assert shown.splitlines() == [
        "fits on gpu-1 (policy foresight, score -3.5; 2 more would fit)",
        "  main: GPU-1 memory=2Gi cores=25",
        "NODES  WHY NOT",
        "    7  is cordoned (n0, n1, n2, n3, n4, …)",
    ]


def test_table_of_no_fit() -> None:
    """Nothing fits: the summary comes first."""
    shown = table(
        Explanation(
            policy="foresight", node="", containers={}, score=0, alternatives=0, summary="needs 9Gi", shortfalls=()
        )
    )
    assert shown == "fits nowhere now: needs 9Gi\n"
