"""The wall in namespaces under Pod Security, where a pod may not mount anything of its node's.

The pod runs a real program against the simulated driver; the interposer comes from the agent's image, whose files the
test puts where the nodes' simulated runtime looks for them.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from demo_install import INTERPOSER, INTERPOSER_IMAGE
from demo_stage import Stage

from allocator.api import names

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]
ASK = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
device, context, block = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
assert cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device) == 0
total, free = ctypes.c_size_t(), ctypes.c_size_t()
assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
print("total", total.value >> 20, "over", cuda.cuMemAlloc_v2(ctypes.byref(block), ctypes.c_size_t(3 << 30)), flush=True)
"""
OUT_OF_MEMORY = 2
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def stage(shared_stage: Stage) -> Stage:
    """An installed cluster whose nodes have the files of the agent's image."""
    if shared_stage.unwalled:
        pytest.skip(shared_stage.unwalled)
    reference = INTERPOSER_IMAGE.replace("/", "_").replace(":", "_")
    for node in shared_stage.nodes:
        folder = shared_stage.host_root(node).parent / "images" / reference / names.IMAGE_LIBRARY_DIR
        folder.mkdir(parents=True)
        shutil.copy(INTERPOSER, folder / Path(names.DELIVERED_LIBRARY).name)
    return shared_stage


def gpu_pod(name: str) -> dict[str, Any]:
    """A pod that asks for 2 GiB and for 3 GiB of its driver, once with an empty environment."""
    run = 'python3 -c "$PROGRAM"'
    container = {
        "name": "main",
        "image": "python:3.12-slim",
        "command": ["sh", "-c", f'env -i PATH="$PATH" PROGRAM="$PROGRAM" {run} && {run}'],
        "env": [{"name": "PROGRAM", "value": ASK}],
        "securityContext": RESTRICTED,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {names.MEMORY: "2Gi", names.CORES: "25"}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


def kubectl(stage: Stage, *argv: str, given: dict[str, Any] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run kubectl, with an object on its standard input."""
    return subprocess.run(  # noqa: S603 - ours
        ["kubectl", *argv],  # noqa: S607
        env=dict(stage.show.environment),
        input=json.dumps(given) if given else "",
        capture_output=True,
        text=True,
        check=False,
    )


def namespace(stage: Stage, name: str, *, level: str, delivery: str) -> None:
    """An opted-in namespace under Pod Security."""
    labels = {names.INJECT_LABEL: names.INJECT_ENABLED, names.POD_SECURITY_LABEL: level}
    metadata = {"name": name, "labels": labels, "annotations": {names.DELIVERY: delivery}}
    made = kubectl(stage, "apply", "-f", "-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize(("level", "delivery"), [("restricted", "auto"), ("baseline", "image")])
def test_a_pod_under_pod_security_is_walled_in(stage: Stage, level: str, delivery: str) -> None:
    """It is admitted, runs, sees its slice and gets no more of it, with its environment and without."""
    name = f"{level}-{delivery}"
    namespace(stage, name, level=level, delivery=delivery)
    pod = gpu_pod("walled")
    made = kubectl(stage, "-n", name, "apply", "-f", "-", given=pod)
    assert made.returncode == 0, made.stderr
    kubectl(stage, "-n", name, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/walled", "--timeout=60s")
    printed = kubectl(stage, "-n", name, "logs", "walled", "-c", "main").stdout
    said = [line for line in printed.splitlines() if line.startswith("total")]
    assert said == [f"total 2048 over {OUT_OF_MEMORY}"] * 2, printed
    stored = json.loads(kubectl(stage, "-n", name, "get", "pod", "walled", "-o", "json").stdout)
    assert not any("hostPath" in volume for volume in stored["spec"]["volumes"])
    again = kubectl(stage, "-n", name, "apply", "-f", "-", given=pod)
    assert again.returncode == 0, again.stderr


def test_a_way_that_cannot_be_is_told(stage: Stage) -> None:
    """By the webhook, with what to write instead, not by Pod Security, which speaks of volumes that nobody wrote."""
    namespace(stage, "impossible", level="restricted", delivery="host")
    refused = kubectl(stage, "-n", "impossible", "apply", "-f", "-", given=gpu_pod("p"))
    assert "forbids hostPath volumes; write image or init" in refused.stderr
