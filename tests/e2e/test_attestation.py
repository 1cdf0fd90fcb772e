"""Who is behind a wall and who is not, on the embedded cluster with the real webhook, allocator and agents."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from demo_install import SYSTEM, TEAM
from demo_stage import Stage, set_up

from allocator.api import names
from allocator.api.inventory import Inventory
from allocator.api.isolation import Finding, Isolation
from tests.e2e.docs import Page

BIN = Path(sys.executable).parent
NODE = "node-t4"
SECONDS = 60.0
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]

HOLD = """
import ctypes, time
cuda = ctypes.CDLL("libcuda.so.1")
context, memory = ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(64 << 20)) == 0
print("holding", flush=True)
time.sleep(1000)
"""
ESCAPE = f"""
import ctypes, os, sys
assert ctypes.CDLL(None).umount2(b"/etc/ld.so.preload", 2) == 0
os.execve(sys.executable, [sys.executable, "-c", {HOLD!r}], {{}})
"""
"""What a privileged container can do: uncover the loader's file, and start again with an empty environment."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The embedded cluster with vramshare installed, and a namespace that opted in."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{BIN}{os.pathsep}{before}"
    with set_up(tmp_path_factory.mktemp("attestation"), given=None) as found:
        if found.unwalled:
            pytest.skip(found.unwalled)
        found.show.run(f"kubectl create namespace {TEAM}")
        found.show.run(f"kubectl label namespace {TEAM} vramshare.io/inject=enabled")
        yield found
    os.environ["PATH"] = before


def start(stage: Stage, name: str, code: str, *, namespace: str = TEAM, **spec: Any) -> str:
    """A pod on the T4 node that holds 64 MiB; its UID once it does."""
    annotations = {names.MEMORY: "2Gi", names.MODELS: "Tesla T4"} if namespace == TEAM else {}
    container = {"name": "main", "image": "none", "command": [sys.executable, "-c", code], **spec.pop("container", {})}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }
    file = stage.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(pod))
    stage.show.run(f"kubectl apply -f {file}")
    logs = f"kubectl -n {namespace} logs {name}"
    stage.show.until(f"{name} holds memory", lambda: "holding" in stage.show.text(logs), seconds=SECONDS)
    return str(stage.show.ask(f"kubectl -n {namespace} get pod {name}")["metadata"]["uid"])


def inventory(stage: Stage) -> Inventory:
    """What the agent says of the node."""
    stage.processes.check()
    return Inventory.from_data(
        stage.show.ask(f"kubectl -n {SYSTEM} get configmap {names.inventory_name(NODE)}")["data"]
    )


def finding(stage: Stage, uid: str) -> Finding:
    """The agent's line about a pod, once there is one."""
    return stage.show.until(
        "the agent has found it",
        lambda: next((one for one in inventory(stage).findings if one.uid == uid), None),
        seconds=SECONDS,
    )


def told(stage: Stage, name: str, reason: str, *, namespace: str = TEAM) -> str:
    """The message of a pod's Event, once it is out."""
    fields = f"involvedObject.name={name},reason={reason}"
    events = f"kubectl -n {namespace} get events --field-selector {fields}"
    found: list[dict[str, Any]] = stage.show.until(
        f"{name} is told {reason}", lambda: stage.show.ask(events)["items"], seconds=SECONDS
    )
    return str(found[0]["message"])


def test_isolation_is_proven_and_breaches_are_found(stage: Stage) -> None:
    """An honest pod is not named. One that slipped off its wall is, and one that uses a GPU without a grant."""
    honest = start(stage, "honest", HOLD)
    escaped = start(stage, "escaped", ESCAPE)
    visible = {"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}
    thief = start(stage, "thief", HOLD, namespace="default", nodeName=NODE, container=visible)

    found = finding(stage, escaped)
    assert (found.state, found.pod, found.container) == (Isolation.VIOLATED, f"{TEAM}/escaped", "main")
    assert found.reason.endswith("runs without the interposer")
    assert told(stage, "escaped", "IsolationViolated") == f"container main: {found.reason}"

    found = finding(stage, thief)
    assert (found.state, found.pod, found.container) == (Isolation.VIOLATED, "default/thief", "main")
    assert found.reason.endswith("without a grant")
    assert told(stage, "thief", "IsolationViolated", namespace="default") == f"container main: {found.reason}"

    def deducted() -> bool:
        return any(gpu.foreign.count for gpu in inventory(stage).gpus)

    stage.show.until("what the thief holds is promised to nobody", deducted, seconds=SECONDS)
    assert honest not in {one.uid for one in inventory(stage).findings}

    for name, namespace in (("escaped", TEAM), ("thief", "default")):
        stage.show.run(f"kubectl -n {namespace} delete pod {name} --grace-period=1")
    stage.show.until("findings go with their pods", lambda: not inventory(stage).findings, seconds=SECONDS)


def test_a_forced_deletion_gives_memory_back_once_nothing_is_left(stage: Stage) -> None:
    """The pod is gone from the API at once; its grant goes when the agent has seen its processes gone."""
    uid = start(stage, "forced", HOLD)
    ledger = f"kubectl -n {SYSTEM} get configmap {names.ledger_name(NODE)} -o yaml"
    stage.show.until("the ledger knows its UID", lambda: uid in stage.show.text(ledger), seconds=SECONDS)
    stage.show.run(f"kubectl -n {TEAM} delete pod forced --force --grace-period=0")
    stage.show.until("its grant is given back", lambda: uid not in stage.show.text(ledger), seconds=SECONDS)


def test_every_command_of_the_page_works(stage: Stage, tmp_path: Path) -> None:
    """docs/agent.md, on a node with nothing to hide."""
    shown = Page("agent.md").run(tmp_path, stage.show.environment)
    assert "vramshare-inventory-node-t4" in shown
    assert "model: Tesla T4" in shown
