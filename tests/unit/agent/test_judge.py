"""Is every container with a slice behind its wall?"""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.judge import Evidence, Judgement, Loaded, Rules, Verdict, allowed, judge
from allocator.agent.known import known
from allocator.api.isolation import Isolation
from allocator.api.quantities import GIB, MIB
from tests.unit.agent.scenes import GPU, GPU_B, LIMIT, OTHER, UID, container, evidence, grant, ledger, region, user

ISOLATED, UNVERIFIED, VIOLATED = Isolation.ISOLATED, Isolation.UNVERIFIED, Isolation.VIOLATED


def only(found: Evidence, **rules: Any) -> Verdict:
    """The one verdict of a look."""
    (verdict,) = judge(found, Rules(**rules)).verdicts
    return verdict


def test_a_container_behind_its_wall() -> None:
    """Interposer loaded, known to the region, within the slice."""
    verdict = only(evidence(user(1), user(2)), names={UID: "team/worker"})
    assert verdict == Verdict(uid=UID, pod="team/worker", container="main", state=ISOLATED, granted=True)


def test_a_container_that_uses_no_gpu_yet() -> None:
    """There is nothing to prove."""
    assert only(evidence()).state is ISOLATED
    assert only(evidence(containers=(container(),))).state is ISOLATED


def test_a_process_without_the_interposer() -> None:
    """Named with what it is, whatever the region says of it."""
    verdict = only(evidence(user(1), user(2, loaded=Loaded.NO)))
    assert (verdict.state, verdict.kind) == (VIOLATED, "preload")
    assert verdict.reason == "process 1002 (python) runs without the interposer"


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (evidence(user(9)), "region"),
        (evidence(user(1), containers=(container(),)), "region"),
        (evidence(user(1), containers=(container(problem="region: cut off"),)), "region"),
        (evidence(containers=(container(problem="region: cut off"),)), "region"),
        (evidence(user(1), containers=()), "region"),
        (evidence(user(1, loaded=Loaded.UNKNOWN)), "map"),
        (evidence(user(1, memory=None)), "figures"),
        (evidence(user(1), problems={GPU: "NVML fails"}), "driver"),
        (evidence(problems={"*": "NVML does not answer"}), "driver"),
    ],
    ids=["unknown to it", "none", "broken", "broken, unused", "no folder", "no map", "no figures", "one GPU", "hung"],
)
def test_a_proof_that_is_not_complete(found: Evidence, kind: str) -> None:
    """It is not called isolated, and not a breach."""
    verdict = only(found)
    assert (verdict.state, verdict.kind) == (UNVERIFIED, kind)
    assert verdict.reason


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    """The region knows id 1 with another start time: that was somebody else."""
    one = user(1)
    newer = replace(one, process=replace(one.process, identity=replace(one.process.identity, start=5)))
    assert only(evidence(newer)).kind == "region"


def test_the_same_id_in_another_pid_namespace_is_another_process() -> None:
    """Ids of two containers are often equal; namespaces are not."""
    found = evidence(user(1), containers=(container(region=region(1, namespace=7)),))
    assert only(found).kind == "region"


@given(held=st.lists(st.integers(0, 2 * GIB), min_size=1, max_size=3))
def test_memory_within_the_slice(held: list[int]) -> None:
    """All processes together, by the driver's figures, with some slack for what it takes at its own time."""
    users = [user(at + 1, memory=count) for at, count in enumerate(held)]
    verdict = only(evidence(*users))
    assert (verdict.state is VIOLATED) == (sum(held) > allowed(LIMIT))


def test_more_memory_than_the_slice_says_how_much() -> None:
    """Held and allowed, in the units that people read."""
    verdict = only(evidence(user(1, memory=3 * GIB), user(2, memory=2 * GIB)))
    assert verdict.kind == "memory"
    assert verdict.reason == f"holds 5Gi of {GPU}, its slice is 4Gi"


def test_a_slice_that_was_made_smaller_while_it_was_in_use() -> None:
    """What is in use stays: no breach while it does not grow."""
    found = evidence(user(1, memory=5 * GIB))
    lowered = {((UID, "main"), GPU): 5 * GIB}
    assert (only(found, ceilings=lowered).state, only(found, ceilings=lowered).kind) == (UNVERIFIED, "lowered")
    assert only(evidence(user(1, memory=6 * GIB)), ceilings=lowered).state is VIOLATED


def test_a_gpu_that_was_not_granted() -> None:
    """Of a pod that has a slice elsewhere."""
    verdict = only(evidence(user(1, gpu=GPU_B)))
    assert (verdict.state, verdict.kind) == (VIOLATED, "gpu")
    assert GPU_B in verdict.reason


def test_a_container_without_a_slice_in_a_pod_with_one() -> None:
    """A sidecar that uses the GPU of its neighbour."""
    verdicts = judge(evidence(user(1, name="sidecar")), Rules()).verdicts
    assert {(one.container, one.state) for one in verdicts} == {("main", ISOLATED), ("sidecar", VIOLATED)}


def test_a_pod_without_a_grant() -> None:
    """It is named by what the logs call it, and by its UID where they do not."""
    stranger = evidence(user(1, OTHER), containers=(), ledger=ledger())
    verdict = only(stranger, names={OTHER: "default/thief"})
    assert (verdict.state, verdict.kind, verdict.pod, verdict.granted) == (VIOLATED, "grant", "default/thief", False)
    assert verdict.reason == f"process 1001 (python) uses {GPU} without a grant"
    assert only(stranger).pod == f"-/{OTHER}"


def test_a_volume_named_like_ours_is_no_grant() -> None:
    """The kubelet's folder alone proves nothing."""
    forged = container(OTHER, region=region(1), tenant="z/main")
    found = evidence(user(1, OTHER), containers=(forged,), ledger=ledger())
    assert only(found).kind == "grant"


def test_a_ledger_that_cannot_be_read_whole_accuses_nobody() -> None:
    """The pod's entry may be the one that this version does not understand."""
    found = evidence(user(1, OTHER), containers=(), ledger=ledger(unreadable=frozenset({"x"})))
    assert only(found).state is UNVERIFIED


def test_known_monitoring_is_not_accused() -> None:
    """By namespace and name; the same name in a tenant's namespace is nobody's monitoring."""
    found = evidence(user(1, OTHER), containers=(), ledger=ledger())
    expected = known("vramshare-system", ())
    assert judge(found, Rules(known=expected, names={OTHER: "gpu-operator/nvidia-dcgm-exporter-x"})).verdicts == ()
    assert judge(found, Rules(known=expected, names={OTHER: "vramshare-system/vramshare-agent-x"})).verdicts == ()
    assert only(found, known=expected, names={OTHER: "team/nvidia-dcgm-exporter-x"}).state is VIOLATED


def test_a_grant_is_a_pods_before_the_ledger_knows_its_uid() -> None:
    """By allocation id and the name that it was made for; a pod of another name gets nothing by bringing the id."""
    unseen = ledger(grant("", pod="worker-*"))
    mine = container(region=region(1), pod="team/worker-x2")
    assert only(evidence(user(1), ledger=unseen, containers=(mine,))).state is ISOLATED
    theirs = replace(mine, pod="evil/worker-x2")
    assert only(evidence(user(1), ledger=unseen, containers=(theirs,))).kind == "grant"


def test_a_container_is_found_by_its_region_where_its_name_is_not_known() -> None:
    """Nothing is known of its mounts; the region that knows the process does."""
    assert only(evidence(user(1, name=""))).state is ISOLATED
    names = {one.container for one in judge(evidence(user(9, name="")), Rules()).verdicts}
    assert names == {"main", "-"}


def test_the_worst_is_told() -> None:
    """One finding per container."""
    found = evidence(user(9), user(2, loaded=Loaded.NO), user(3, memory=None))
    assert only(found).kind == "preload"


def foreign(found: Evidence, **rules: Any) -> Judgement:
    """A judgement for what it says of memory."""
    return judge(found, Rules(**rules))


def test_memory_outside_of_grants_is_foreign() -> None:
    """The host's own processes, pods without a grant, monitoring too, and what nobody can be found for."""
    users = [user(1), user(2, None, memory=3 * MIB), user(3, OTHER, memory=5 * MIB)]
    found = evidence(*users, lost={GPU_B: 7 * MIB})
    assert foreign(found, known=lambda _: True).foreign == {GPU: 8 * MIB, GPU_B: 7 * MIB}


def test_memory_beyond_a_grant_is_foreign_too() -> None:
    """Nobody else may be promised what a violator holds."""
    found = evidence(user(1, memory=6 * GIB), user(2, gpu=GPU_B, memory=MIB))
    judged = foreign(found)
    assert judged.foreign == {GPU: 2 * GIB, GPU_B: MIB}
    assert judged.held == {((UID, "main"), GPU): 6 * GIB, ((UID, "main"), GPU_B): MIB}
    assert judged.processes == {(UID, "main"): 2}
