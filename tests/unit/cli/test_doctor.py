"""The doctor's checks, each on a cluster that is well and on one that is not."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from allocator.api import names
from allocator.api.inventory import Strategy
from allocator.api.isolation import Finding as Breach
from allocator.api.isolation import Isolation
from allocator.api.quantities import Memory
from allocator.cli.doctor import CHECKS, as_json, examine, table
from allocator.cli.doctor.cluster import Cluster
from allocator.cli.doctor.finding import Finding, Level
from allocator.cli.doctor.front import POLICIES
from allocator.core.ledger import Ledger, ledger_object
from tests.unit.cli.clusters import (
    GPU,
    GRANT,
    INVENTORY,
    NOW,
    SYSTEM,
    TEAM,
    WELL,
    agent_pod,
    deployment,
    encoded,
    inventory,
    labelled,
    lease,
    ledger,
    pod,
    registration,
    replica,
    thing,
    waiting,
    workload,
)
from webhook.pki import make_authority, pem

BY = "request.userInfo.username != 'system:serviceaccount:gpu:vramshare-webhook'"


def found(cluster: Cluster, check: str) -> list[Finding]:
    """What one check says."""
    return [one for one in examine(cluster) if one.check == check]


def changed(**changes) -> Callable[[], Cluster]:
    """The well cluster, changed."""
    return lambda: replace(WELL, **changes)


def with_inventory(**changes) -> Callable[[], Cluster]:
    """The well cluster with another inventory."""
    return changed(configmaps=(inventory(replace(INVENTORY, **changes)), ledger(GRANT)))


def test_all_is_well() -> None:
    """Every check says so, once."""
    told = examine(WELL)
    assert [one.check for one in told] == [one.name for one in CHECKS]
    assert {one.level for one in told} == {Level.OK}, [one for one in told if one.level is not Level.OK]
    assert table(told).endswith("all is well\n")


RESTRICTED = {names.POD_SECURITY_LABEL: "restricted"}
CASES = [
    ("namespaces", changed(namespaces=()), Level.WARNING, "no namespace has opted in", "kubectl label namespace"),
    ("namespaces", changed(namespaces=labelled("yes")), Level.BROKEN, "inject=yes, which means nothing", "--overwrite"),
    (
        "namespaces",
        changed(namespaces=(TEAM, *labelled("enabled", name="kube-system"))),
        Level.WARNING,
        "left alone",
        "inject-",
    ),
    ("registration", changed(registrations=()), Level.BROKEN, "is missing", "kubectl apply -k"),
    (
        "registration",
        changed(
            registrations=(
                thing("vramshare", webhooks=[{"name": "a", "failurePolicy": "Ignore", "sideEffects": "None"}]),
            )
        ),
        Level.BROKEN,
        "failurePolicy Fail",
        "kubectl apply -k",
    ),
    (
        "registration",
        changed(registrations=(thing("vramshare", webhooks=[{"name": "a", "sideEffects": "Some"}]),)),
        Level.WARNING,
        "no dry run works",
        "apply",
    ),
    (
        "ca-bundle",
        changed(registrations=(registration(caBundle=""),)),
        Level.BROKEN,
        "has no caBundle",
        "rollout restart",
    ),
    (
        "ca-bundle",
        changed(registrations=(registration(caBundle=encoded(b"x")),)),
        Level.BROKEN,
        "holds no certificate",
        "rollout restart",
    ),
    ("ca-bundle", changed(now=NOW + timedelta(days=4000)), Level.BROKEN, "has expired", "rollout restart"),
    (
        "ca-bundle",
        changed(registrations=(registration(caBundle=encoded(pem(make_authority(now=NOW).certificate))),)),
        Level.BROKEN,
        "does not name the CA",
        "rollout restart",
    ),
    (
        "certificate",
        changed(secret=None),
        Level.WARNING,
        "no replica has started yet",
        "logs deployment/vramshare-webhook",
    ),
    ("certificate", changed(secret={"data": {"tls.crt": "!"}}), Level.BROKEN, "holds no certificate", "delete secret"),
    ("certificate", changed(now=NOW - timedelta(days=1)), Level.BROKEN, "clock right?", "delete secret"),
    ("certificate", changed(now=NOW + timedelta(days=360)), Level.WARNING, "was not renewed", "logs"),
    (
        "webhook",
        changed(probe="in namespace team: x509"),
        Level.BROKEN,
        "not admitted in namespace team: x509",
        "get pods",
    ),
    ("webhook", changed(probe=None), Level.WARNING, "was not asked", ""),
    ("replicas", changed(deployments=()), Level.BROKEN, "is missing", "kubectl apply -k"),
    ("replicas", changed(deployments=(deployment(ready=0),)), Level.BROKEN, "none of the webhook's 2", "describe pods"),
    ("replicas", changed(deployments=(deployment(ready=1),)), Level.WARNING, "1 of the webhook's 2", "describe pods"),
    ("replicas", changed(deployments=(deployment(ready=1, replicas=1),)), Level.WARNING, "one replica", "--replicas=2"),
    ("replicas", changed(pods=(replica(1, "n1"), replica(2, "n1"))), Level.WARNING, "run on node n1", ""),
    ("policies", changed(policies=WELL.policies[1:]), Level.BROKEN, "is missing: what it forbids", "kubectl apply -k"),
    ("policies", changed(bindings=WELL.bindings[1:]), Level.BROKEN, "has no binding", "kubectl apply -k"),
    (
        "own-namespace",
        changed(
            policies=(*WELL.policies[1:], thing("vramshare-results", spec={"matchConditions": [{"expression": BY}]}))
        ),
        Level.BROKEN,
        "vramshare-results expect vramshare's service accounts in another namespace than vramshare-system",
        "manifests/own-namespace.yaml",
    ),
    (
        "own-namespace",
        changed(registrations=(thing("vramshare", webhooks=[{"name": "a", "namespaceSelector": {}}]),)),
        Level.WARNING,
        "does not leave namespace vramshare-system out",
        "manifests/own-namespace.yaml",
    ),
    ("agents", changed(configmaps=()), Level.BROKEN, "GPU node n1 has no inventory", "get pods"),
    ("agents", changed(configmaps=(), nodes=()), Level.BROKEN, "no node has a GPU", "get pods"),
    (
        "agents",
        changed(pods=(*WELL.pods, agent_pod("n1", "Running"), agent_pod("n2", "Pending"))),
        Level.WARNING,
        "for 5 minutes agents have not started on n2",
        "labelled-gpu-nodes",
    ),
    ("agents", changed(leases=()), Level.BROKEN, "never given a sign of life", "logs"),
    ("agents", changed(leases=(lease(300),)), Level.BROKEN, "silent for 300 s", "logs"),
    ("agents", changed(nodes=()), Level.WARNING, "node n1 is gone", "delete configmap vramshare-inventory-n1"),
    (
        "agents",
        changed(
            configmaps=(*WELL.configmaps, thing("odd", labels={names.KIND_LABEL: "inventory"}, data={"node": "?"}))
        ),
        Level.BROKEN,
        "odd cannot be read",
        "describe",
    ),
    (
        "drivers",
        with_inventory(driver="", reason="no libcuda"),
        Level.BROKEN,
        "no NVIDIA driver: no libcuda",
        "describe",
    ),
    ("drivers", with_inventory(gpus=()), Level.BROKEN, "sees no GPU", "describe"),
    (
        "drivers",
        with_inventory(gpus=(replace(GPU, health="Xid 79"),)),
        Level.WARNING,
        "GPU-1 of node n1 takes no new grants: Xid 79",
        "describe",
    ),
    (
        "injection",
        with_inventory(strategy=Strategy.NONE, reason="no runtime"),
        Level.BROKEN,
        "takes no grants: no runtime",
        "describe",
    ),
    (
        "runtime-class",
        changed(runtime_classes=()),
        Level.BROKEN,
        "RuntimeClass nvidia, which GPU pods get",
        "--runtime-class",
    ),
    (
        "interposer",
        with_inventory(interposer="", reason="noexec"),
        Level.BROKEN,
        "has no interposer: noexec",
        "get pods",
    ),
    (
        "interposer",
        changed(configmaps=(inventory(INVENTORY), inventory(replace(INVENTORY, node="n2", interposer_sha256="bb")))),
        Level.WARNING,
        "different interposers",
        "rollout status",
    ),
    (
        "isolation",
        with_inventory(findings=(Breach(Isolation.VIOLATED, "team/p", "u", "c", "no preload"),)),
        Level.BROKEN,
        "c of team/p on n1: violated: no preload",
        "delete pod p",
    ),
    (
        "isolation",
        with_inventory(findings=(Breach(Isolation.UNVERIFIED, "team/p", "u", "c", "why"),)),
        Level.WARNING,
        "unverified",
        "",
    ),
    (
        "pod-security",
        changed(namespaces=labelled("enabled", **RESTRICTED)),
        Level.BROKEN,
        "its GPU pods are refused",
        "--interposer-image",
    ),
    (
        "pod-security",
        changed(
            namespaces=(
                thing(
                    "team",
                    labels={names.INJECT_LABEL: "enabled", **RESTRICTED},
                    meta={"annotations": {names.DELIVERY: "host"}},
                ),
            )
        ),
        Level.BROKEN,
        "asks for delivery by host folder",
        "kubectl annotate",
    ),
    (
        "hami",
        changed(registrations=(registration(), thing("hami-webhook", webhooks=[{"name": "vgpu.hami.io"}]))),
        Level.BROKEN,
        "is still registered",
        "kubectl delete mutatingwebhookconfiguration hami-webhook",
    ),
    (
        "hami",
        changed(deployments=(*WELL.deployments, workload("hami-scheduler"))),
        Level.BROKEN,
        "deployment gpu/hami-scheduler still runs",
        "kubectl -n gpu delete deployment",
    ),
    (
        "hami",
        changed(daemonsets=(workload("plugin", "projecthami/hami:v2"),)),
        Level.BROKEN,
        "daemonset gpu/plugin",
        "delete daemonset",
    ),
    (
        "hami",
        changed(daemonsets=(workload("nvidia-device-plugin-daemonset"),)),
        Level.WARNING,
        "hands out whole GPUs",
        "delete daemonset",
    ),
    (
        "queue",
        changed(pods=(waiting(20),)),
        Level.WARNING,
        "has waited for 20 min: needs 9Gi",
        "vramshare explain -n team q",
    ),
    (
        "ledger",
        changed(pods=(pod(), pod("other", uid="u3", grant="g9"))),
        Level.BROKEN,
        "holds grant g9, which no ledger has",
        "logs",
    ),
    ("ledger", changed(pods=()), Level.WARNING, "grant g1 of team/p on n1 is booked, and its pod is gone", "logs"),
    (
        "ledger",
        changed(configmaps=(inventory(INVENTORY), ledger(replace(GRANT, uid=""))), now=NOW + timedelta(minutes=6)),
        Level.WARNING,
        "never appeared",
        "logs",
    ),
    (
        "ledger",
        changed(configmaps=(inventory(INVENTORY), ledger(replace(GRANT, releasing=NOW)))),
        Level.WARNING,
        "to confirm",
        "logs",
    ),
    (
        "ledger",
        with_inventory(gpus=(replace(GPU, memory=Memory.mib(50)),)),
        Level.BROKEN,
        "overbooked",
        "describe configmap",
    ),
    (
        "ledger",
        changed(
            configmaps=(inventory(INVENTORY), ledger_object(Ledger.from_data("n1", {"g1": "?"}), namespace=SYSTEM))
        ),
        Level.BROKEN,
        "cannot be read",
        "describe",
    ),
]


@pytest.mark.parametrize(("check", "cluster", "level", "message", "remedy"), CASES)
def test_trouble_is_found_and_mended(
    check: str, cluster: Callable[[], Cluster], level: Level, message: str, remedy: str
) -> None:
    """What is wrong, how bad it is, and the command that mends it."""
    told = [one for one in found(cluster(), check) if message in one.message]
    assert told, found(cluster(), check)
    assert told[0].level is level
    assert remedy in told[0].remedy


def as_installed() -> dict:
    """The webhook's Deployment as the manifests have it."""
    manifest = Path(__file__).parents[3] / "manifests" / "base" / "webhook.yaml"
    return next(one for one in yaml.safe_load_all(manifest.read_text()) if one["kind"] == "Deployment")


@pytest.mark.parametrize(
    ("check", "cluster"),
    [
        ("replicas", changed(deployments=(), registrations=(registration(url="https://x"),))),
        ("certificate", changed(secret=None, deployments=(deployment("--cert=/c"),))),
        (
            "pod-security",
            changed(namespaces=labelled("enabled", **RESTRICTED), deployments=(deployment("--interposer-image=x"),)),
        ),
        ("pod-security", changed(namespaces=labelled("enabled", **RESTRICTED), deployments=(as_installed(),))),
        ("hami", changed(deployments=(*WELL.deployments, workload("worker-a-hami")))),
        ("queue", changed(pods=(waiting(1),))),
        ("ledger", changed(pods=(pod(), {**pod("done", uid="u9", grant="g9"), "status": {"phase": "Succeeded"}}))),
        ("runtime-class", changed(deployments=(deployment(),), runtime_classes=())),
    ],
)
def test_what_is_no_trouble(check: str, cluster: Callable[[], Cluster]) -> None:
    """Other ways to be well."""
    assert [one.level for one in found(cluster(), check)] == [Level.OK], found(cluster(), check)


def test_what_may_not_be_looked_at_is_said() -> None:
    """A check without its objects says nothing about them."""
    told = found(replace(WELL, configmaps=(), unseen={"configmaps": "forbidden (403)"}), "ledger")
    assert [(one.level, one.message) for one in told] == [(Level.WARNING, "not looked at: configmaps: forbidden (403)")]


def test_every_broken_thing_has_a_remedy() -> None:
    """None of the cases above leaves its reader alone with it."""
    told = [one for _, cluster, *_ in CASES for one in examine(cluster()) if one.level is Level.BROKEN]
    assert [one for one in told if not one.remedy] == []


def test_policies_are_those_of_the_manifests() -> None:
    """A policy that is added there is looked for here."""
    folder = Path(__file__).parents[3] / "manifests" / "base" / "policies"
    objects = [one for file in sorted(folder.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]
    shipped = {one["metadata"]["name"] for one in objects if one["kind"] == "ValidatingAdmissionPolicy"}
    assert shipped == {f"vramshare-{one}" for one in POLICIES}


def test_json_for_scripts() -> None:
    """Whether it is well, and every finding."""
    told = json.loads(as_json(examine(replace(WELL, registrations=()))))
    assert told["well"] is False
    assert {"check", "level", "message", "remedy"} == set(told["findings"][0])
