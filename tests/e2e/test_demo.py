"""The demo is the test of the whole journey: every claim that it shows is checked there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("demo")
def test_the_demo_holds_every_claim(tmp_path: Path) -> None:
    """`scripts/demo --once` ends with success, and shows what it must."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment["PYTHONPATH"] = str(ROOT / "scripts")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "scripts/demo_main.py", "--once", "--dir", tmp_path / "demo"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    shown = ended.stdout
    assert ended.returncode == 0, shown[-8000:] + ended.stderr
    assert "FAILED" not in shown
    assert "SKIPPED" not in shown
    assert "CUDA_ERROR_OUT_OF_MEMORY" in shown
