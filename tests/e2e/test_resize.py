"""A running pod is resized: its processes see the new size, and nothing is restarted."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from demo_stage import Stage

GIB = 1 << 30
WATCHER = """
import ctypes, time
cuda = ctypes.CDLL("libcuda.so.1")
context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
assert cuda.cuInit(0) == 0
assert cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0
while True:
    assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    print(total.value, flush=True)
    time.sleep(0.2)
"""
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "watcher", "annotations": {"vramshare.io/memory": "2Gi"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "python:3.12-slim", "command": ["python3", "-c", WATCHER]}],
    },
}


class Team:
    """A namespace of the test's own, and kubectl in it."""

    def __init__(self, stage: Stage) -> None:
        self._environment = stage.show.environment

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """What it prints. It must end well."""
        ended = subprocess.run(  # noqa: S603 - the test's own words
            ["kubectl", *words],  # noqa: S607
            env=dict(self._environment),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def pod(self) -> dict:
        """The pod as it is."""
        found: dict = json.loads(self.kubectl("-n", "resizing", "get", "pod", "watcher", "-o", "json"))
        return found

    def seen(self) -> int:
        """The size that the process in the container saw last, in bytes; 0: nothing yet."""
        lines = self.kubectl("-n", "resizing", "logs", "watcher", "--tail=1").split()
        return int(lines[-1]) if lines and lines[-1].isdigit() else 0

    def booked(self) -> int:
        """MiB that the ledgers count for the pod."""
        words = ("-n", "vramshare-system", "get", "configmaps", "-l", "vramshare.io/kind=ledger", "-o", "json")
        ledgers = json.loads(self.kubectl(*words))["items"]
        entries = [text for one in ledgers for text in (one.get("data") or {}).values()]
        [mine] = [text for text in entries if "pod: resizing/watcher\n" in text]
        [size] = [word for word in mine.split() if word.startswith("memory=")]
        return {"memory=2Gi": 2048, "memory=5Gi": 5120, "memory=1Gi": 1024}[size]

    def events(self) -> str:
        """What is told of the pod."""
        return self.kubectl("-n", "resizing", "get", "events", "-o", "custom-columns=R:.reason,M:.message")


@pytest.fixture
def team(shared_stage: Stage) -> Iterator[Team]:
    """A namespace under the webhook, with a pod that watches its size."""
    if shared_stage.unwalled:
        pytest.skip(shared_stage.unwalled)
    made = Team(shared_stage)
    made.kubectl("create", "namespace", "resizing")
    made.kubectl("label", "namespace", "resizing", "vramshare.io/inject=enabled")
    made.kubectl("-n", "resizing", "apply", "-f", "-", stdin=json.dumps(POD))
    yield made
    made.kubectl("delete", "namespace", "resizing")


def until(holds: Callable[[], bool]) -> None:
    """Wait for something to hold, with all the patience that a busy machine may need."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.1)


def resize(team: Team, size: str) -> None:
    """Edit the request."""
    team.kubectl("-n", "resizing", "annotate", "--overwrite", "pod", "watcher", f"vramshare.io/memory={size}")


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("demo")
def test_a_running_container_sees_its_new_size_without_a_restart(team: Team) -> None:
    """Grown, refused, shrunk: one process sees it all, and the ledger counts what may still be held."""
    until(lambda: "watcher" in team.kubectl("-n", "resizing", "get", "pods", "--field-selector=status.phase=Running"))
    until(lambda: team.seen() == 2 * GIB)
    resize(team, "5Gi")
    until(lambda: team.seen() == 5 * GIB)
    assert team.booked() == 5 * 1024
    resize(team, "500Gi")
    until(lambda: "ResizeWaits" in team.events())
    assert team.seen() == 5 * GIB
    resize(team, "1Gi")
    until(lambda: team.seen() == GIB)
    until(lambda: team.booked() == 1024)
    [container] = team.pod()["status"]["containerStatuses"]
    assert container["restartCount"] == 0
    assert "Resized" in team.events()
