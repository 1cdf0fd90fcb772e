"""The simulated NVIDIA runtime: what containers on simulated GPU nodes find."""

import pathlib
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml
from devcluster.client import PODS, Client
from devcluster.cluster import Cluster
from devcluster.nodes import NodeSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

NATIVE = pathlib.Path(__file__).parents[3] / "native"
ONE, OTHER = "GPU-00000000-0000-0000-0000-00000000000a", "GPU-00000000-0000-0000-0000-00000000000b"
DESCRIPTION = "".join(f"[{uuid}]\nmodel = Tesla T4\nmemory = 15360Mi\n" for uuid in (ONE, OTHER))
COUNT = """
import ctypes
try:
    cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
except OSError:
    print("no driver")
else:
    seen, uuid, device, count = ctypes.c_int(), ctypes.create_string_buffer(96), ctypes.c_void_p(), ctypes.c_uint()
    print(cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(seen)), seen.value)
    nvml.nvmlInit_v2(), nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for index in range(count.value):
        nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        nvml.nvmlDeviceGetUUID(device, uuid, 96)
        print(uuid.value.decode())
"""


@pytest.fixture(scope="module")
def fake_driver() -> pathlib.Path:
    """The folder of the simulated driver, built if needed."""
    subprocess.run(["make", "-s", "--no-print-directory", "-C", NATIVE, "fakegpu"], check=True)  # noqa: S603, S607 - make
    return NATIVE / "build" / "fakegpu"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory, fake_driver: pathlib.Path
) -> AsyncIterator[tuple[Cluster, Client]]:
    """A cluster with a GPU node of each mode and one without GPUs."""
    folder = tmp_path_factory.mktemp("gpus")
    gpus = folder / "gpus.ini"
    gpus.write_text(DESCRIPTION)
    nodes = [
        NodeSpec(name="legacy", gpus=str(gpus)),
        NodeSpec(name="cdi", gpus=str(gpus), runtime="cdi"),
        NodeSpec(name="plain"),
    ]
    async with Cluster(dir=folder / "cluster", nodes=nodes, fake_driver=fake_driver) as cluster:
        ca = (folder / "cluster" / "pki" / "ca.crt").read_text()
        async with Client(url=cluster.url, ca_pem=ca, token=cluster.token, agent="test") as client:
            yield cluster, client


async def seen(lab, node, visible, *, scrub=False):
    """What the driver shows a container on ``node`` with this NVIDIA_VISIBLE_DEVICES."""
    env = [] if visible is None else [{"name": "NVIDIA_VISIBLE_DEVICES", "value": visible}]
    command = [sys.executable, "-c", COUNT]
    await lab.pod("p", *(["env", "-i", *command] if scrub else command), nodeName=node, container={"env": env})
    return (await lab.output("p")).split("\n")[:-1]


@pytest.mark.parametrize("visible", [None, "", "void"])
async def test_no_gpu_no_driver(lab, isolated, visible):
    """Without GPUs a container cannot even load the driver's libraries."""
    assert await seen(lab, "legacy", visible) == ["no driver"]


async def test_one_gpu_by_uuid(lab, isolated):
    """CUDA and NVML show the one GPU that the variable names."""
    assert await seen(lab, "legacy", OTHER) == ["0 0 1", OTHER]


async def test_a_scrubbed_environment_sees_no_more(lab, isolated):
    """The choice does not hang on the process' environment, and the driver is found without one."""
    assert await seen(lab, "legacy", ONE, scrub=True) == ["0 0 1", ONE]


async def test_all(lab, isolated):
    """All GPUs, in the node's order."""
    assert await seen(lab, "legacy", "all") == ["0 0 2", ONE, OTHER]


async def test_a_node_without_gpus_has_no_driver(lab, isolated):
    """The variable means nothing there."""
    assert await seen(lab, "plain", "all") == ["no driver"]


async def test_cdi_names_resolve_through_the_nodes_specs(lab, isolated):
    """A qualified name works once a spec on the node has it; a bare UUID never does."""
    edits = {"deviceNodes": [{"path": "/dev/nvidia0"}]}
    spec = {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": ONE, "containerEdits": edits}]}
    lab.put("/var/run/cdi/vramshare.yaml", yaml.safe_dump(spec).encode(), node="cdi")
    assert await seen(lab, "cdi", f"nvidia.com/gpu={ONE}") == ["0 0 1", ONE]


async def test_a_bare_uuid_fails_under_cdi(lab, isolated):
    """The container is not created, and the message says which device cannot be resolved."""
    env = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": ONE}]
    await lab.pod("p", "true", nodeName="cdi", container={"env": env})

    def refused(pod):
        status = ((pod or {}).get("status", {}).get("containerStatuses") or [{}])[0]
        return status.get("state", {}).get("waiting", {}).get("reason") == "RunContainerError"

    waiting = (await lab.until(PODS, "p", refused))["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["message"].endswith(f"failed to inject CDI devices: unresolvable CDI devices {ONE}")


async def test_memory_of_one_container_is_gone_for_the_next(lab, isolated):
    """The simulated GPU is one for all containers of its node."""
    hold = (
        "import ctypes, time\n"
        "cuda = ctypes.CDLL('libcuda.so.1')\n"
        "context, pointer, free, total = (ctypes.c_void_p() for _ in range(4))\n"
        "cuda.cuInit(0), cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0)\n"
        "size = ctypes.c_size_t(9 << 30)\n"
        "print(cuda.cuMemAlloc_v2(ctypes.byref(pointer), size), flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": ONE}]}
    await lab.pod("first", sys.executable, "-c", hold, nodeName="legacy", container=env)
    assert await lab.first_line("first") == "0"
    await lab.pod("second", sys.executable, "-c", hold, nodeName="legacy", container=env)
    assert await lab.first_line("second") == "2"
    for name in ("first", "second"):
        await lab.delete(name, {"gracePeriodSeconds": 0})
