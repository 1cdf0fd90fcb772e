"""The roles in the manifests, against what webhook and agents really do.

The embedded cluster lets service accounts do what their roles allow and nothing else, and its audit log has their reads
too. So a right that the manifests forget refuses something here, and one that nothing uses is found.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml
from demo_install import SYSTEM, TEAM
from demo_stage import Stage, set_up

ROOT = Path(__file__).parents[2]
HOLD = """
import ctypes, time
cuda = ctypes.CDLL("libcuda.so.1")
context = ctypes.c_void_p()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
time.sleep(1000)
"""
RARE = {
    ("vramshare-webhook", "patch", "events"): ("allocator/kube/events.py", "client.patch(EVENTS"),
    ("vramshare-agent", "patch", "events"): ("allocator/kube/events.py", "client.patch(EVENTS"),
    # A pod whose grant went, and whose place somebody else has meanwhile.
    ("vramshare-webhook", "delete", "pods"): ("allocator/controller/strays.py", "client.delete(PODS"),
    # Before a grant is given back whose pod this replica does not see: a watch may be late.
    ("vramshare-webhook", "get", "pods"): ("allocator/controller/lookups.py", "client.get(PODS"),
    # Before what was held on a node that is not seen any more is given back.
    ("vramshare-webhook", "get", "nodes"): ("allocator/controller/lookups.py", "client.get(NODES"),
    # A certificate near its end; tests/e2e/test_certificates.py shows it.
    ("vramshare-webhook", "update", "secrets"): ("allocator/controller/vault.py", "client.replace(SECRETS"),
}
"""Rights that the play does not use, by where they are used."""
BIN = Path(sys.executable).parent
PREFIX = f"system:serviceaccount:{SYSTEM}:"
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What our service accounts did while pods were granted, waited, went and were evicted, and a GPU was added."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{BIN}{os.pathsep}{before}"
    with set_up(tmp_path_factory.mktemp("rights"), given=None) as stage:
        _play(stage)
        log = (stage.folder / "cluster" / "audit.log").read_text()
    os.environ["PATH"] = before
    events = [json.loads(line) for line in log.splitlines()]
    return [one for one in events if one.get("user", {}).get("username", "").startswith(PREFIX)]


def _play(stage: Stage) -> None:
    show, kubectl = stage.show, f"kubectl -n {TEAM}"
    show.run(f"kubectl create namespace {TEAM}")
    show.run(f"kubectl label namespace {TEAM} vramshare.io/inject=enabled")
    run = "run {name} --image=none --annotations=vramshare.io/memory=40Gi --annotations=vramshare.io/cores=60 {end}"
    names = ("first", "second", "third")
    for name in names:
        show.run(f"{kubectl} {run.format(name=name, end='--command -- sleep infinity')}")
    pods = show.ask(f"{kubectl} get pods")["items"]
    waiting = [pod["metadata"]["name"] for pod in pods if pod["spec"].get("schedulingGates")]
    assert waiting == ["third"]
    show.run(f"{kubectl} delete pod first --grace-period=1")
    show.run(f"{kubectl} wait --for=condition=Ready pod/third --timeout=60s")

    def told() -> bool:
        shown = show.text(f"{kubectl} get events")
        return all(reason in shown for reason in ("Allocated", "WaitingForGpu"))

    show.until("the events are out", told, seconds=60)
    with (stage.folder / "gpus" / "node-rtx.ini").open("a") as description:
        description.write("\n[GPU-added]\nmodel = Tesla T4\nmemory = 16Gi\n")
    inventory = f"kubectl -n {SYSTEM} get configmap vramshare-inventory-node-rtx -o yaml"
    show.until("the agent has noticed a new GPU", lambda: "GPU-added" in show.text(inventory), seconds=60)
    _steal(stage)
    _vanish(stage)
    _copy(stage)
    _evict(stage)


def _vanish(stage: Stage) -> None:
    """A pod is deleted by force, and with it goes its grant."""
    show = stage.show
    show.run(f"kubectl -n {TEAM} delete pod third --force --grace-period=0")
    ledgers = f"kubectl -n {SYSTEM} get configmaps -l vramshare.io/kind=ledger -o yaml"
    show.until("its grant is given back", lambda: f"{TEAM}/third" not in show.text(ledgers), seconds=60)


def _copy(stage: Stage) -> None:
    """A pod comes with a grant that no ledger shows, as a copied manifest has it: it gets one of its own."""
    show = stage.show
    pod = show.ask(f"kubectl -n {TEAM} get pod second")
    annotations = {**pod["metadata"]["annotations"], "vramshare.io/allocation-id": "0123456789abcdef"}
    spec = {"containers": [{"name": "second", "image": "none", "command": ["sleep", "infinity"]}]}
    copied = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "copied", "annotations": annotations},
        "spec": spec,
    }
    file = stage.folder / "copied.json"
    file.write_text(json.dumps(copied))
    show.run(f"kubectl -n {TEAM} create -f {file}")


def _evict(stage: Stage) -> None:
    """An agent asks for the eviction of a pod, and the leader has it evicted."""
    show = stage.show
    pod = show.ask(f"kubectl -n {TEAM} get pod second")
    asked = json.dumps({"data": {"evict": f"{pod['metadata']['uid']} {TEAM}/second told by a test"}})
    show.run(f"kubectl -n {SYSTEM} patch configmap vramshare-inventory-{pod['spec']['nodeName']} -p '{asked}'")
    there = f"kubectl -n {TEAM} get pod second -o jsonpath={{.metadata.uid}}{{.metadata.deletionTimestamp}}"
    show.until("it is evicted", lambda: show.text(there) != pod["metadata"]["uid"], seconds=60)


def _steal(stage: Stage) -> None:
    """A pod of a namespace that did not opt in uses a GPU: the agent tells it."""
    show = stage.show
    pod = {"spec": {"nodeName": "node-rtx"}}
    run = f"kubectl -n default run thief --image=none --env=NVIDIA_VISIBLE_DEVICES=all --overrides='{json.dumps(pod)}'"
    show.run(f"{run} --command -- {sys.executable} -c {shlex.quote(HOLD)}")
    events = "kubectl -n default get events --field-selector involvedObject.name=thief"
    show.until("the agent has told it", lambda: "IsolationViolated" in show.text(events), seconds=60)


def test_nothing_was_refused(done: list[dict[str, Any]]) -> None:
    """By the roles, which the cluster enforces; and both accounts did something."""
    assert {one["user"]["username"].removeprefix(PREFIX) for one in done} == dict(_rules()).keys()
    refused = {
        (one["user"]["username"].removeprefix(PREFIX), one["verb"], _resource(one))
        for one in done
        if one["responseStatus"]["code"] == HTTPStatus.FORBIDDEN
    }
    assert not refused


def test_every_right_is_used(done: list[dict[str, Any]]) -> None:
    """Each verb on each resource was asked for in this play, and would be refused without its rule.

    What the play cannot bring about is named with the place that does it.
    """
    granted = {
        (account, verb, resource)
        for account, rules in _rules()
        for rule in rules
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }
    used = {(one["user"]["username"].removeprefix(PREFIX), one["verb"], _resource(one)) for one in done}
    assert granted - used - RARE.keys() == set()
    assert RARE.keys() <= granted
    gone = [right for right, (file, call) in RARE.items() if call not in (ROOT / file).read_text()]
    assert not gone, "nothing needs these any more"


def _resource(event: dict[str, Any]) -> str:
    reference = event["objectRef"]
    return "/".join(filter(None, [reference["resource"], reference.get("subresource", "")]))


def _rules() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each service account's rules, with the namespace that they hold in."""
    ended = subprocess.run([BIN / "kubectl", "kustomize", ROOT / "manifests"], check=True, capture_output=True)  # noqa: S603
    objects = list(yaml.safe_load_all(ended.stdout))
    roles = {(one["kind"], one["metadata"]["name"]): one for one in objects if one["kind"].endswith("Role")}
    for account in (one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"):
        yield (
            account,
            [
                {**rule, "namespace": role["metadata"].get("namespace", "")}
                for binding in objects
                if binding["kind"].endswith("RoleBinding") and binding["subjects"][0]["name"] == account
                for role in [roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]]
                for rule in role["rules"]
            ],
        )
