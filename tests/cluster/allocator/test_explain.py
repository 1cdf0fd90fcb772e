"""`vramshare explain` against an API server."""

import asyncio
import json
from argparse import ArgumentParser
from pathlib import Path

import pytest

from allocator.cli.explain import Explain
from allocator.kube import PODS, Client

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "asks", "namespace": "default", "annotations": {"vramshare.io/memory": "4000Mi"}},
    "spec": {"containers": [{"name": "main", "image": "i", "resources": {"requests": {"cpu": "2"}}}]},
}


async def explain(kubeconfig: Path, *arguments: str) -> int:
    """Run the subcommand as the console script does, on a thread: it has a loop of its own."""
    parser = ArgumentParser()
    command = Explain()
    command.add_arguments(parser)
    parsed = parser.parse_args([*arguments, "--kubeconfig", str(kubeconfig)])
    return await asyncio.to_thread(command.run, parsed)


async def test_a_manifest_that_fits(
    client: Client, kubeconfig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest is placed on the furnished node, without being created."""
    manifest = tmp_path / "pod.json"
    manifest.write_text(json.dumps(POD))
    assert await explain(kubeconfig, "-f", str(manifest)) == 0
    assert capsys.readouterr().out.startswith("fits on gpu-1 ")
    assert (await client.list(PODS))[0] == []


async def test_a_pod_in_the_cluster_that_does_not_fit(
    client: Client, kubeconfig: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pod is found by its name; JSON names what is missing and every node."""
    too_large = {**POD["metadata"], "annotations": {"vramshare.io/memory": "17000Mi"}}
    await client.create(PODS, {**POD, "metadata": too_large}, namespace="default")
    assert await explain(kubeconfig, "asks", "-o", "json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["summary"] == "needs 16.6Gi on one GPU; best is 15.6Gi on gpu-1"
    assert [one["nodes"] for one in answer["refusals"]] == [["gpu-1"]]
