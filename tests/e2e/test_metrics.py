"""A real Prometheus on the embedded cluster: what it knows of running pods is what they really do."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from demo_install import TEAM
from demo_stage import Stage

from allocator.api import names
from tests.e2e.docs import installed
from tests.monitoring.prometheus import Prometheus, prometheus

NODE, MODEL = "node-l40s", "NVIDIA L40S"
MIB = 1 << 20
REFUSED = 7
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]

HOLD = f"""
import ctypes, time
cuda = ctypes.CDLL("libcuda.so.1")
context, memory = ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(512 << 20)) == 0
for _ in range({REFUSED}):
    assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4 << 30)) == 2
print("holding", flush=True)
time.sleep(1000)
"""
"""Holds 512 MiB and asks for more than its slice a few times."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The embedded cluster with vramshare installed, and a namespace that opted in."""
    with installed(tmp_path_factory.mktemp("metrics")) as found:
        if found.unwalled:
            pytest.skip(found.unwalled)
        found.show.run(f"kubectl create namespace {TEAM}")
        found.show.run(f"kubectl label namespace {TEAM} vramshare.io/inject=enabled")
        yield found


def start(stage: Stage, name: str) -> None:
    """A pod on the L40S node that holds memory."""
    annotations = {names.MEMORY: "2Gi", names.CORES: "25", names.MODELS: MODEL}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": TEAM, "annotations": annotations},
        "spec": {
            "containers": [{"name": "main", "image": "none", "command": [sys.executable, "-c", HOLD]}],
            "terminationGracePeriodSeconds": 1,
        },
    }
    file = stage.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(pod))
    stage.show.run(f"kubectl apply -f {file}")
    logs = f"kubectl -n {TEAM} logs {name}"
    stage.show.until(f"{name} holds memory", lambda: "holding" in stage.show.text(logs), seconds=60)


def port(stage: Stage, program: str, event: str, key: str) -> int:
    """Where a program says in its log that it serves metrics."""
    found: list[dict[str, Any]] = [json.loads(line) for line in stage.processes.log(program).read_text().splitlines()]
    return int(next(line[key] for line in found if line.get("event") == event))


async def value(running: Prometheus, query: str) -> float:
    """The one value of a query, once there is one."""
    await running.until(query, lambda found: len(found) == 1)
    return (await running.query(query))[0][1]


async def test_prometheus_knows_what_pods_do(stage: Stage, tmp_path: Path) -> None:
    """Memory, wall, refusals and isolation by the agent, grants by the allocator; gone when the pod is."""
    start(stage, "trainer")
    targets = {
        "vramshare-webhook": port(stage, "webhook", "serving", "metrics_port"),
        "vramshare-agent": port(stage, f"agent-{NODE}", "metrics served", "port"),
    }
    mine = f'{{node="{NODE}",namespace="{TEAM}",pod="trainer",container="main"}}'
    async with prometheus(tmp_path / "prometheus", targets) as running:
        used = await value(running, f"vramshare_container_memory_used_bytes{mine} > {512 * MIB - 1}")
        overhead = await value(running, f"vramshare_container_memory_overhead_bytes{mine}")
        assert used - overhead == 512 * MIB
        host = await value(running, f"vramshare_container_memory_host_bytes{mine}")
        assert used == pytest.approx(host, rel=0.01)
        assert await value(running, f"vramshare_container_memory_limit_bytes{mine}") == 2048 * MIB
        assert await value(running, f"vramshare_container_memory_refusals_total{mine}") == REFUSED
        assert await value(running, f"vramshare_container_gpu_time_limit_ratio{mine}") == 0.25
        assert await value(running, 'vramshare_container_isolation{pod="trainer",state="isolated"} == 1') == 1

        on_gpu = f'max(vramshare_gpu_memory_used_bytes{{node="{NODE}"}})'
        assert await value(running, on_gpu) == pytest.approx(host, rel=0.01)
        assert await value(running, f'sum(vramshare_gpu_slices{{node="{NODE}"}})') == 1
        assert await value(running, f'sum(vramshare_gpu_memory_allocated_bytes{{node="{NODE}"}})') == 2048 * MIB
        assert await value(running, f'vramshare_namespace_cores_allocated{{namespace="{TEAM}"}}') == 0.25
        assert await value(running, "sum(vramshare_node_open)") == 3

        stage.show.run(f"kubectl -n {TEAM} delete pod trainer --grace-period=1")
        await running.until(f"vramshare_container_memory_used_bytes{mine}", lambda found: not found)
        await running.until("sum(vramshare_gpu_memory_allocated_bytes)", lambda found: found == [({}, 0.0)])
