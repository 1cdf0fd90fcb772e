"""The demo is the test of the whole journey: every claim that it shows is checked there."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devcluster.cluster import Cluster

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


def play(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the demo as its users do, less the set-up."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment["PYTHONPATH"] = str(ROOT / "scripts")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "scripts/demo_main.py", "--once", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_claim_holds(tmp_path: Path) -> None:
    """`scripts/demo --once` ends with success, and shows what it must."""
    ended = play("--dir", tmp_path / "demo")
    shown = ended.stdout
    assert ended.returncode == 0, shown[-8000:] + ended.stderr
    assert "FAILED" not in shown
    assert "SKIPPED" not in shown
    assert "asked for 3000 MiB: CUDA_ERROR_OUT_OF_MEMORY" in shown


async def test_plays_on_a_given_control_plane_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    """What needs a kubelet is skipped and said so; the rest holds; nothing stays behind."""
    async with Cluster(dir=tmp_path / "cluster", nodes=[]) as cluster:
        ended = await asyncio.to_thread(play, "--dir", tmp_path / "demo", "--kubeconfig", cluster.kubeconfig)
        async with asyncio.timeout(60):
            while await left(cluster.kubeconfig) != {"namespace/default"}:
                pass  # deletion goes on in the background
    shown = ended.stdout
    assert ended.returncode == 0, shown[-8000:] + ended.stderr
    assert "SKIPPED" in shown
    assert "no kubelet runs" in shown
    assert "HELD    worker-a and worker-b share one GPU" in shown


async def left(kubeconfig: str) -> set[str]:
    """What there is in the cluster, its own namespaces aside."""
    kubectl = Path(sys.executable).with_name("kubectl")
    kinds = "nodes,namespaces,mutatingwebhookconfigurations,clusterroles,clusterrolebindings"
    process = await asyncio.create_subprocess_exec(
        kubectl, "get", kinds, "-o", "name", f"--kubeconfig={kubeconfig}", stdout=asyncio.subprocess.PIPE
    )
    shown, _ = await process.communicate()
    return {one for one in shown.decode().split() if "kube-" not in one}
