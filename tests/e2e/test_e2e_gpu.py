"""scripts/e2e-gpu on the simulated driver: the same story as on a GPU, in short."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("demo")
def test_the_story_holds_on_the_simulated_driver(tmp_path: Path) -> None:
    """Every claim; the table and the JSON say that the GPU was simulated, and have every chapter's figures."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment["PYTHONPATH"] = str(ROOT / "scripts")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    argv = [sys.executable, "scripts/e2e_gpu.py", "--fake", "--seconds", "1", "--json", tmp_path / "found.json"]
    ended = subprocess.run(  # noqa: S603 - our own program
        [*argv, "--dir", tmp_path / "e2e"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr
    assert "SIMULATED, says nothing about a GPU" in ended.stdout
    said = json.loads((tmp_path / "found.json").read_text())
    assert said["simulated"] is True
    assert (said["failed"], said["missing"]) == ([], {})
    assert "CUDA_ERROR_OUT_OF_MEMORY" in said["said"]["refusal"]
    assert {"with pauses", "busy", "beside the over-allocator", "while B is killed"} <= said["rates"].keys()
    assert {name: 0 < share <= 1.5 * said["cap"][name] for name, share in said["share"].items()} == {
        "worker-a": True,
        "worker-b": True,
    }
    memory = said["memory"]["busy"]
    assert memory["worker-a"]["inside"] == memory["worker-a"]["agent"] >= 1500
    assert memory["gpu"]["nvml"] >= memory["worker-a"]["inside"] + memory["worker-b"]["inside"]
