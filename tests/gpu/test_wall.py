"""The wall on a real GPU: native/tests/gpu/checks.py, one test per kind of check."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / "native" / "tests" / "gpu" / "checks.py"

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def _real_gpu() -> None:
    """A machine with a GPU, and everything built."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("needs a machine with an NVIDIA GPU")
    if driver.cuInit(0) != 0:
        pytest.skip("needs a working NVIDIA GPU")
    for folder in ("native", "native/tests"):
        subprocess.run(["make", "-s", "-C", folder], cwd=ROOT, check=True)  # noqa: S603, S607 - our makefiles


def check(*options: str) -> None:
    """Runs the checks; the table they print is the message when one fails."""
    done = subprocess.run(  # noqa: S603 - the project's own program
        [sys.executable, CHECKS, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_path_gets_past_the_slice():
    """Every allocation path is refused at the slice, and takes more than it without the wall."""
    check("--paths-only", "--native")


def test_frameworks_meet_an_ordinary_error():
    """Frameworks see the slice, get their ordinary out-of-memory error, and go on."""
    check("--frameworks-only")
