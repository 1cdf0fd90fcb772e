"""A node with this machine's own GPUs, told by its driver; here the simulated one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devcluster.kubelet.nvidia_host import unlisted_driver

ROOT = Path(__file__).resolve().parents[3]
DRIVER = ROOT / "native/build/fakegpu"
FIRST, SECOND = "GPU-00000000-0000-4000-8000-00000000000a", "GPU-00000000-0000-4000-8000-00000000000b"
PROGRAM = """
import json
from devcluster.kubelet.nvidia_host import real_gpus
print(json.dumps([[one.uuid, one.index] for one in real_gpus()]))
"""


def test_gpus_and_their_device_nodes_as_nvml_tells_them(tmp_path: Path) -> None:
    """UUIDs that grants name, also of GPUs that nothing has opened before."""
    gpus = "".join(f"[{uuid}]\nmodel = Tesla T4\nmemory = 1Gi\n" for uuid in (FIRST, SECOND))
    (tmp_path / "gpus.ini").write_text(gpus)
    environment = {"FAKEGPU_DIR": str(tmp_path), "LD_LIBRARY_PATH": str(DRIVER), "PYTHONPATH": str(ROOT / "scripts")}
    said = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert json.loads(said.stdout) == [[FIRST, 0], [SECOND, 1]]


@pytest.mark.parametrize(
    ("listed", "found"),
    [((), True), (("/usr/lib/libnvidia-ml.so.1",), True), (("/usr/lib/libcuda.so.1",), False)],
)
def test_a_driver_that_the_loader_does_not_list(tmp_path: Path, listed: tuple[str, ...], found: bool) -> None:  # noqa: FBT001
    """Its folder is searched in containers too, which inherit no search path."""
    (tmp_path / "libcuda.so.1").touch()
    assert unlisted_driver(listed, f"/nowhere::{tmp_path}") == (str(tmp_path) if found else "")
