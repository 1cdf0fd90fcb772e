"""A running cluster for the tests of this folder, and a namespace of its own for each of them."""

import asyncio
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import EVENTS, NAMESPACES, PODS, ApiError, Client, Resource
from devcluster.cluster import Cluster
from devcluster.nodes import NodeSpec

Object = dict[str, Any]
_numbers = itertools.count()
_TIMEOUT = 20


class Lab:
    """One test's view of the cluster: a namespace, and ways to wait that never sleep."""

    def __init__(self, cluster: Cluster, client: Client, namespace: str) -> None:
        self.cluster = cluster
        self.client = client
        self.namespace = namespace

    async def pod(self, name: str, *command: str, **spec: Any) -> Object:
        """Create a pod with one container ``c``; fields of the container go under ``container``."""
        meta = {"name": name, **spec.pop("metadata", {})}
        container = {"name": "c", "image": "host", "command": list(command), **spec.pop("container", {})}
        defaults = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5}
        body = {"metadata": meta, "spec": {**defaults, "containers": [container], **spec}}
        return await self.client.create(PODS.path(self.namespace), body)

    async def until(self, resource: Resource, name: str, holds: Callable[[Object | None], Any]) -> Object:
        """Return the object once ``holds`` is true of it (None: it does not exist)."""
        async with asyncio.timeout(_TIMEOUT):
            while True:
                listed = await self.client.get(
                    resource.path(self._in(resource)), {"fieldSelector": f"metadata.name={name}"}
                )
                item = next(iter(listed["items"]), None)
                if holds(item):
                    return item or {}
                found = await self._watch(resource, name, listed["metadata"]["resourceVersion"], holds)
                if found is not None:
                    return found

    async def _watch(
        self, resource: Resource, name: str, version: str, holds: Callable[[Object | None], Any]
    ) -> Object | None:
        params = {"fieldSelector": f"metadata.name={name}", "resourceVersion": version}
        async with contextlib.aclosing(self.client.watch(resource.path(self._in(resource)), params)) as events:
            async for event in events:
                if event["type"] == "ERROR":
                    return None
                item = None if event["type"] == "DELETED" else event["object"]
                if event["type"] != "BOOKMARK" and holds(item):
                    return item or {}
        return None

    def _in(self, resource: Resource) -> str:
        return self.namespace if resource.namespaced else ""

    async def phase(self, name: str, *phases: str) -> Object:
        """Return the pod once it is in one of ``phases``."""
        return await self.until(PODS, name, lambda pod: pod and pod["status"].get("phase") in phases)

    async def event(self, name: str, reason: str) -> Object:
        """Return the first Event of that reason about the object ``name``."""
        async with asyncio.timeout(_TIMEOUT):
            while True:
                params = {"fieldSelector": f"involvedObject.name={name},reason={reason}"}
                listed = await self.client.get(EVENTS.path(self.namespace), params)
                if listed["items"]:
                    found: Object = listed["items"][0]
                    return found
                params["resourceVersion"] = listed["metadata"]["resourceVersion"]
                async with contextlib.aclosing(self.client.watch(EVENTS.path(self.namespace), params)) as events:
                    async for event in events:
                        if event["type"] == "ADDED":
                            return dict(event["object"])

    async def output(self, name: str) -> str:
        """Return what an ended pod's container ``c`` printed."""
        await self.phase(name, "Succeeded", "Failed")
        return await self.kubectl("logs", name)

    async def first_line(self, name: str, *, skip: int = 0) -> str:
        """Follow a pod's log until its first line, or the one after ``skip`` lines, is there."""

        def runs(pod: Object | None) -> bool:
            statuses = (pod or {}).get("status", {}).get("containerStatuses", [])
            return any("waiting" not in each["state"] for each in statuses)

        await self.until(PODS, name, runs)
        path = PODS.path(self.namespace, name, "log") + "?follow=true"
        async with asyncio.timeout(_TIMEOUT), self.client._open.get(path) as response:
            lines = [await response.content.readline() for _ in range(skip + 1)]
        return lines[-1].decode().rstrip("\n")

    async def kubectl(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run kubectl in the test's namespace and return what it printed, errors included."""
        program = pathlib.Path(sys.executable).with_name("kubectl")
        environment = {**os.environ, "KUBECONFIG": self.cluster.kubeconfig}
        process = await asyncio.create_subprocess_exec(
            program if program.exists() else "kubectl", "-n", self.namespace, *arguments,
            env=environment, stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_TIMEOUT):
                printed, _ = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
        return printed.decode()

    def put(self, path: str, content: bytes, *, node: str = "one") -> None:
        """Write a file on the host of a node."""
        place = pathlib.Path(self.cluster.host(node).host_path(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    async def delete(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        """Ask for a pod's deletion."""
        await self.client.delete(PODS.path(self.namespace, name), options)


async def _namespace(client: Client) -> str:
    name = f"t{os.getpid()}-{next(_numbers)}"
    await client.create(NAMESPACES.path(), {"metadata": {"name": name}})
    return name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Cluster, Client]]:
    """A cluster with two nodes of different size, for the tests of one module.

    DEVCLUSTER_ISOLATION chooses a kind of isolation other than the strongest that works.
    """
    folder = tmp_path_factory.mktemp("cluster")
    nodes = [
        NodeSpec(name="one", capacity={"cpu": "4", "memory": "8Gi"}, labels={"size": "small"}),
        NodeSpec(name="two", capacity={"cpu": "8", "memory": "8Gi"}, labels={"size": "big"}),
    ]
    async with Cluster(dir=folder, nodes=nodes, isolation=os.environ.get("DEVCLUSTER_ISOLATION", "")) as cluster:
        ca = (folder / "pki" / "ca.crt").read_text()
        async with Client(url=cluster.url, ca_pem=ca, token=cluster.token, agent="test") as client:
            yield cluster, client
    shutil.rmtree(folder)


@pytest.fixture
def make_lab() -> Callable[[Cluster, Client], Awaitable[Lab]]:
    """For modules with a cluster of their own: gives a fresh namespace of it."""

    async def make(cluster: Cluster, client: Client) -> Lab:
        return Lab(cluster, client, await _namespace(client))

    return make


@pytest_asyncio.fixture(loop_scope="module")
async def lab(shared: tuple[Cluster, Client]) -> Lab:
    """A fresh namespace of the module's cluster."""
    cluster, client = shared
    return Lab(cluster, client, await _namespace(client))


@pytest.fixture
def isolated(shared: tuple[Cluster, Client]) -> None:
    """Skip where containers get no file system of their own."""
    if shared[0].isolation == "process":
        pytest.skip("this machine allows neither root nor user namespaces, so containers have no mounts")


def dumps(item: Any) -> str:
    """Return JSON for a manifest file."""
    return json.dumps(item)


__all__ = ["ApiError", "Lab"]


@pytest.fixture(scope="session")
def tiny_library(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A shared library that prints a line when it is loaded."""
    folder = tmp_path_factory.mktemp("tiny")
    source = folder / "tiny.c"
    source.write_text(
        "#include <unistd.h>\n"
        '__attribute__((constructor)) static void hello(void) { (void)!write(1, "tiny library loaded\\n", 20); }\n'
    )
    library = folder / "libtiny.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)  # noqa: S603, S607 - the compiler
    return library
