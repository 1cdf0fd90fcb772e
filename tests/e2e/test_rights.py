"""The roles in the manifests, against what webhook and agents really write.

The embedded cluster grants everything and keeps an audit log; here the log is judged by the roles' own rules, so that
a right that the manifests forget is found before a real cluster refuses it. Reads are not in the log.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
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
BIN = Path(sys.executable).parent
PREFIX = f"system:serviceaccount:{SYSTEM}:"
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What our service accounts wrote while pods were granted, one waited for its place, and a GPU was added."""
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


def _steal(stage: Stage) -> None:
    """A pod of a namespace that did not opt in uses a GPU: the agent tells it."""
    show = stage.show
    pod = {"spec": {"nodeName": "node-rtx"}}
    run = f"kubectl -n default run thief --image=none --env=NVIDIA_VISIBLE_DEVICES=all --overrides='{json.dumps(pod)}'"
    show.run(f"{run} --command -- {sys.executable} -c {shlex.quote(HOLD)}")
    events = "kubectl -n default get events --field-selector involvedObject.name=thief"
    show.until("the agent has told it", lambda: "IsolationViolated" in show.text(events), seconds=60)


def test_every_write_is_allowed_by_a_role(written: list[dict[str, Any]]) -> None:
    """By verb, resource and namespace."""
    rules = dict(_rules())
    assert {one["user"]["username"].removeprefix(PREFIX) for one in written} == rules.keys()
    refused = {
        (account, one["verb"], resource)
        for one in written
        for account in [one["user"]["username"].removeprefix(PREFIX)]
        for resource in [_resource(one)]
        if not any(_allows(rule, one, resource) for rule in rules[account])
    }
    assert not refused


def test_no_right_to_write_is_left_over(written: list[dict[str, Any]]) -> None:
    """What the roles allow to be written was written in this short play; counting up a repeated event apart."""
    writes = {"create", "update", "patch", "delete"}
    rare = {("vramshare-webhook", "patch", "events"), ("vramshare-agent", "patch", "events")}
    granted = {
        (account, verb, resource)
        for account, rules in _rules()
        for rule in rules
        for verb in rule["verbs"]
        for resource in rule["resources"]
        if verb in writes
    }
    used = {(one["user"]["username"].removeprefix(PREFIX), one["verb"], _resource(one)) for one in written}
    assert granted - used - rare == set()


def _resource(event: dict[str, Any]) -> str:
    reference = event["objectRef"]
    return "/".join(filter(None, [reference["resource"], reference.get("subresource", "")]))


def _allows(rule: dict[str, Any], event: dict[str, Any], resource: str) -> bool:
    reference = event["objectRef"]
    return (
        event["verb"] in rule["verbs"]
        and resource in rule["resources"]
        and reference.get("apiGroup", "") in rule["apiGroups"]
        and rule["namespace"] in ("", reference.get("namespace", ""))
    )


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
