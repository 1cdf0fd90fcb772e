"""The demo's own machinery: a demo that cannot fail proves nothing."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from demo_nodes import SIMULATED, write_descriptions
from demo_pods import A, B, on_the_real_gpu
from demo_processes import Processes
from demo_show import DemoError, Show
from demo_stage import check_places

from allocator.agent.simulated import parse_description
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory

ROOT = Path(__file__).parents[3]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """A show without colours."""
    return Show(environment={"PATH": "/usr/bin:/bin"}, colour=False)


def test_a_claim_that_does_not_hold_is_counted_and_shown(show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code depends on this count."""
    show.claim("two is two", held=True)
    show.claim("two is three", held=False, found="it is two")
    show.skip("three is three", "nobody to ask")
    assert (show.held, show.failed, show.skipped) == (1, ["two is three"], ["three is three"])
    assert capsys.readouterr().out.splitlines() == [
        "HELD    two is two",
        "FAILED  two is three (it is two)",
        "SKIPPED three is three: nobody to ask",
    ]


def test_a_command_is_printed_before_its_output(show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    """As it would be typed."""
    assert show.run("echo 'a  b'") == "a  b\n"
    assert capsys.readouterr().out == "$ echo 'a  b'\na  b\n"


def test_a_failing_command_ends_the_demo(show: Show) -> None:
    """Nothing goes on as if it had worked."""
    with pytest.raises(DemoError, match="exit code 3"):
        show.run("sh -c 'exit 3'")


def test_waiting_has_an_end(show: Show) -> None:
    """A thing that never comes is told by name."""
    with pytest.raises(DemoError, match="a miracle"):
        show.until("a miracle", lambda: None, seconds=0.0)


def test_processes_are_stopped_and_a_dead_one_is_noticed(tmp_path: Path) -> None:
    """With its last words."""
    with Processes(folder=tmp_path / "logs", environment={}) as processes:
        processes.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
        assert processes.check()
        processes.start("talker", [sys.executable, "-c", "import sys; sys.exit('no luck')"])
        processes.running["talker"].wait(60)
        with pytest.raises(DemoError, match="no luck"):
            processes.check()
    assert all(one.poll() is not None for one in processes.running.values())


@contextmanager
def running(program: str, folder: Path) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """A program that uses the demo's parts, and what it prints."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}{ROOT}"}
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", program, folder], env=environment, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        yield demo, demo.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_second_signal_does_not_cut_the_clean_up_short(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Whoever presses Ctrl-C twice leaves nothing running behind."""
    program = (
        "import demo_main, demo_processes, os, pathlib, signal, sys\n"
        "demo_main.catch_signals()\n"
        "slow = 'import signal, sys; signal.signal(15, lambda *_: (sys.stdin.read(), sys.exit())); signal.pause()'\n"
        "try:\n"
        "    with demo_processes.Processes(pathlib.Path(sys.argv[1]), {}) as processes:\n"
        "        for name in 'abc':\n"
        "            processes.start(name, [sys.executable, '-c', slow])\n"
        "        print(*(one.pid for one in processes.running.values()), flush=True)\n"
        "        signal.pause()\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    with running(program, tmp_path) as (demo, printed):
        pids = [int(one) for one in printed.readline().split()]
        for _ in range(3):
            demo.send_signal(number)
        assert demo.wait(60) == code
    assert len(pids) == 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_nothing_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    """With -9 it cannot stop what it has started."""
    program = (
        "import demo_processes, os, pathlib, signal, sys\n"
        "with demo_processes.Processes(pathlib.Path(sys.argv[1]), {}) as processes:\n"
        "    processes.start('sleeper', ['sleep', '600'])\n"
        "    print(processes.running['sleeper'].pid, flush=True)\n"
        "    signal.pause()\n"
    )
    with running(program, tmp_path) as (demo, printed):
        sleeper = os.pidfd_open(int(printed.readline()))
        demo.kill()
    try:
        assert select.select([sleeper], [], [], 60)[0]
    finally:
        os.close(sleeper)


@pytest.mark.parametrize(("gib", "names"), [(16, ["worker-a-real", "worker-b-real"]), (8, [])])
def test_the_machines_own_gpu_is_asked_for_by_its_uuid(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: int, names: list[str]
) -> None:
    """A simulated one may be of the same model. One whose 20 % cannot hold what worker A holds is passed over."""
    monkeypatch.chdir(ROOT)
    gpu = Gpu(uuid="GPU-1234", index=0, model="Tesla T4", memory=Memory.mib(gib * 1024))
    inventory = Inventory(node="node-real", gpus=(gpu,))
    monkeypatch.setattr(show, "ask", lambda _: {"data": inventory.to_data()})
    stage = SimpleNamespace(show=show, folder=tmp_path)
    found = on_the_real_gpu(stage, (A, B))  # type: ignore[arg-type]  # all that it looks at
    assert [one.name for one in found] == names
    assert len(show.skipped) == (not names)
    for one in found:
        assert "vramshare.io/uuids: GPU-1234" in one.file.read_text()
        assert "vramshare.io/models" not in one.file.read_text()


@pytest.mark.parametrize(
    ("folder", "runs_from", "problem"),
    [
        ("/tmp/de mo", "/checkout/.venv", "has a space"),
        ("/demo", "/opt/vramshare/.venv", "move the checkout"),
        ("/demo", "/opt/vramshare-1/.venv", ""),
    ],
)
def test_a_place_in_which_no_pod_could_run_is_told_at_once(folder: str, runs_from: str, problem: str) -> None:
    """Before a minute has been waited for them."""
    expected = pytest.raises(DemoError, match=problem) if problem else nullcontext()
    with expected:
        check_places(Path(folder), runs_from=runs_from)


def test_the_nodes_have_the_gpus_that_the_demo_speaks_of(tmp_path: Path) -> None:
    """The agent reads the descriptions, and no two GPUs share a UUID."""
    found = {
        name: parse_description(path.read_text(), where=name) for name, path in write_descriptions(tmp_path).items()
    }
    shown = {name: (len(gpus), gpus[0].model, str(gpus[0].memory)) for name, gpus in found.items()}
    assert shown == {
        "node-rtx": (1, "NVIDIA GeForce RTX 3080", "10Gi"),
        "node-t4": (4, "Tesla T4", "16Gi"),
        "node-l40s": (2, "NVIDIA L40S", "48Gi"),
    }
    uuids = [gpu.uuid for gpus in found.values() for gpu in gpus]
    assert len(uuids) == len(set(uuids)) == sum(node.gpus for node in SIMULATED)
