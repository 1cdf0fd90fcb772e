"""The cluster as a process of its own: ``python -m devcluster up``."""

import asyncio
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import yaml
from devcluster.client import PODS, Client

SCRIPTS = pathlib.Path(__file__).parents[3] / "scripts"
NODES = [{"name": "only", "capacity": {"cpu": "2"}}]
VOLUMES = [{"name": "m", "emptyDir": {"medium": "Memory"}}]


@pytest_asyncio.fixture
async def up(tmp_path: pathlib.Path) -> AsyncIterator[Callable]:
    """Starts clusters, and ends them after the test whatever happens."""
    started = []
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text(yaml.safe_dump(NODES))

    async def start(*arguments):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "devcluster", "up", "--dir", tmp_path / "cluster", "--nodes", nodes, *arguments,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        async with asyncio.timeout(30):
            word, _, url = (await process.stdout.readline()).decode().partition(" ")
        assert word == "ready", (await process.stderr.read()).decode()
        return process, url.strip()

    yield start
    for process in started:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def run_pod(folder, url, word):
    """Run a pod with ``word`` on its command line, and return once it prints."""
    config = yaml.safe_load((folder / "cluster" / "kubeconfig").read_text())
    token = config["users"][0]["user"]["token"]
    ca = (folder / "cluster" / "pki" / "ca.crt").read_text()
    async with Client(url=url, ca_pem=ca, token=token, agent="test") as client, asyncio.timeout(30):
        container = {"name": "c", "image": "host", "command": ["sh", "-c", "echo up; sleep 1000; true", word]}
        body = {"metadata": {"name": "p"}, "spec": {"containers": [container], "volumes": VOLUMES}}
        made = await client.create(PODS.path("default"), body)
        version = made["metadata"]["resourceVersion"]
        async for event in client.watch(PODS.path("default"), {"resourceVersion": version}):
            if event["object"].get("status", {}).get("phase") == "Running":
                return


def processes(word):
    """PIDs of the processes that have ``word`` on their command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


async def end_of(pid):
    """Return when a process that is no child of ours has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    async with asyncio.timeout(20):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


def mounts(folder, kind=""):
    """Return the mounts below ``folder`` that have ``kind`` in their path."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return [point for point in points if point.startswith(f"{folder}/") and kind in point]


async def test_sigterm_ends_everything(tmp_path, up):
    """The process ends with 0; no container, mount or pod folder is left."""
    process, url = await up()
    word = f"word-{os.getpid()}-term"
    await run_pod(tmp_path, url, word)
    assert processes(word)
    process.terminate()
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert not processes(word)
    assert not mounts(tmp_path)
    assert not list((tmp_path / "cluster" / "nodes" / "only" / "root" / "var/lib/kubelet/pods").iterdir())


async def test_a_killed_cluster_leaves_no_container_and_can_start_again(tmp_path, up):
    """Containers end with their kubelet; the next start in the folder clears what was left."""
    process, url = await up()
    word = f"word-{os.getpid()}-kill"
    await run_pod(tmp_path, url, word)
    containers = processes(word)
    assert containers
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await asyncio.gather(*(end_of(pid) for pid in containers))
    assert mounts(tmp_path, "empty-dir") or os.geteuid()  # a user's memory volumes are plain folders
    _, url = await up()
    assert not mounts(tmp_path, "empty-dir")
    await run_pod(tmp_path, url, word)


async def test_clean_makes_a_killed_clusters_folder_removable(tmp_path, up):
    """No mount is left below it."""
    process, url = await up()
    await run_pod(tmp_path, url, "word")
    process.send_signal(signal.SIGKILL)
    await process.wait()
    cleaner = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devcluster", "clean", "--dir", tmp_path / "cluster",
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )  # fmt: skip
    assert await cleaner.wait() == 0
    assert not mounts(tmp_path)


async def test_a_wrong_nodes_file_is_explained(tmp_path):
    """The message names the node and the field."""
    (tmp_path / "nodes.yaml").write_text("- {name: a, gpu: none}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devcluster", "up", "--dir", tmp_path, "--nodes", tmp_path / "nodes.yaml",
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"node a: unknown field 'gpu'; known are name, capacity" in said


@pytest.mark.parametrize("isolation", ["namespaces", "user-namespaces", "process"])
async def test_every_isolation_that_works_here_runs_a_pod(tmp_path, up, isolation):
    """Each kind can be forced; the weakest always works."""
    if isolation == "namespaces" and os.geteuid():
        pytest.skip("needs root")
    _, url = await up("--isolation", isolation)
    await run_pod(tmp_path, url, "word")
