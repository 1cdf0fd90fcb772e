"""Hearing Xid errors: by NVML's events on the simulated driver, by its file, and by a driver that hangs."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pynvml
import pytest

from allocator.agent.gpus import Reading
from allocator.agent.health import Health
from allocator.agent.infirmary import Infirmary
from allocator.agent.neighbours import Neighbourhood
from allocator.agent.xids import FileEars, Listener, NvmlEars, Xid
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from tests.unit.agent.test_usage import GPU, GPUS, LIBRARY, ROOT

START = datetime(2026, 1, 1, tzinfo=UTC)
PROGRAM = """
import json, pathlib, sys
from allocator.agent.neighbours import Neighbourhood
from allocator.agent.xids import NvmlEars
ears, heard = NvmlEars(wait=0.05), []
answers = [ears.listen(lambda *one: heard.append(one))]
with open(sys.argv[1], "a") as events:
    events.write(sys.argv[2])
while len(heard) < 1:
    answers.append(ears.listen(lambda *one: heard.append(one)))
print(json.dumps([all(answers), heard]))
"""


def test_nvmls_events(tmp_path: Path) -> None:
    """Critical errors alone, with GPU and number; a wait in which nothing happens is none."""
    (tmp_path / "gpus.ini").write_text(GPUS)
    environment = {**os.environ, "FAKEGPU_DIR": str(tmp_path), "LD_LIBRARY_PATH": str(LIBRARY), "PYTHONPATH": str(ROOT)}
    environment.pop("LD_PRELOAD", None)
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path / "events"), f"{GPU} 2 5\n{GPU} 8 79\n"]
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert json.loads(ended.stdout) == [True, [[GPU, 79]]]


def test_no_driver_is_nothing_to_listen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """One appears later, maybe."""

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert not NvmlEars().listen(lambda *_: None)


def test_gpus_that_cannot_be_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some models have no events: nothing is waited for."""

    def fail(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name, answer in {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlEventSetCreate": 7,
        "nvmlEventSetFree": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": 1,
        "nvmlDeviceGetUUID": GPU,
    }.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(pynvml, "nvmlDeviceRegisterEvents", fail)
    assert not NvmlEars().listen(lambda *_: None)


def test_the_simulated_drivers_events(tmp_path: Path) -> None:
    """What is appended from now on; other lines are none; a file that was made anew is read from its beginning."""
    file = tmp_path / "events"
    file.write_text(f"{GPU} 8 31\n")
    ears, heard = FileEars(file, wait=lambda _: None), list[tuple[str, int]]()

    def listen() -> None:
        assert ears.listen(lambda *one: heard.append(one))

    listen()
    with file.open("a") as stream:
        stream.write(f"{GPU} 8 79\nnonsense\n{GPU} 2 5\n{GPU} 8 ²\n")
    listen()
    file.write_text(f"{GPU} 8 48\n")
    listen()
    file.unlink()
    listen()
    assert heard == [(GPU, 79), (GPU, 48)]


class Raising:
    """Ears that fail in a way that nobody foresaw, and hear then."""

    def __init__(self) -> None:
        self.failed = False
        self.heard = threading.Event()

    def listen(self, heard: Callable[[str, int], None]) -> bool:
        """Fail once."""
        if not self.failed:
            self.failed = True
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "no name")
        heard(GPU, 79)
        self.heard.set()
        return False


def test_listening_goes_on_after_any_failure() -> None:
    """Or the first odd answer of a driver would be the last that is heard."""
    ears = Raising()
    listener = Listener(ears, now=lambda: START, again=0.001)
    listener.start()
    assert ears.heard.wait(60)
    listener.stop()
    assert listener.taken()[0] == Xid(GPU, 79, START)


class Waiting:
    """Ears that hear one thing and then hang, as a driver in trouble does."""

    def __init__(self) -> None:
        self.heard = threading.Event()
        self.go = threading.Event()

    def listen(self, heard: Callable[[str, int], None]) -> bool:
        """Hear, hang."""
        heard(GPU, 79)
        self.heard.set()
        self.go.wait()
        return True


@pytest.fixture
def ears() -> Iterator[Waiting]:
    """Let go at the end."""
    waiting = Waiting()
    yield waiting
    waiting.go.set()


def test_what_was_heard_is_taken_while_the_driver_hangs(ears: Waiting) -> None:
    """Taking never waits for the thread."""
    listener = Listener(ears, now=lambda: START)
    listener.start()
    assert ears.heard.wait(60)
    assert listener.taken() == [Xid(GPU, 79, START)]
    assert listener.taken() == []
    listener.stop()


def test_an_error_that_was_heard_makes_a_gpu_sick(ears: Waiting) -> None:
    """From the thread into the inventory."""
    listener = Listener(ears, now=lambda: START)
    nobody = Neighbourhood(root=Path("/nonexistent"))
    infirmary = Infirmary(Health(), nobody, listener, booted=lambda: START, now=lambda: START)
    inventory = Inventory(node="n1", gpus=(Gpu(uuid=GPU, index=0, model="Tesla T4", memory=Memory.mib(15360)),))
    assert infirmary.judge(inventory, Reading()) == inventory
    listener.start()
    assert ears.heard.wait(60)
    sick = infirmary.judge(inventory, Reading())
    assert "Xid 79" in sick.gpus[0].health
    heir = Infirmary(Health(), nobody, Listener(ears), booted=lambda: START.replace(year=2025), now=lambda: START)
    heir.recall(sick)
    assert heir.judge(inventory, Reading()) == sick
    listener.stop()
