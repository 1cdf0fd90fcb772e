"""What a demo leaves behind, where its paths lead, and which interpreter measures."""

import os
import sys
from pathlib import Path

import pytest
from demo_folder import asked_path, workspace
from demo_show import environment
from interpreters import itself, versions, with_torch


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, end: type[BaseException]) -> None:
    """Ctrl-C is how a demo ends; SIGTERM ends it likewise."""

    def run() -> None:
        with workspace(None, prefix="demo-") as space:
            (space.path / "logs").mkdir()
            raise end

    with pytest.raises(end):
        run()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_its_logs(tmp_path: Path) -> None:
    """So do a claim that did not hold, and a folder that was asked for."""
    with pytest.raises(ValueError, match="broken"), workspace(None, prefix="one-"):
        raise ValueError("broken")
    with workspace(None, prefix="two-") as space:
        space.kept = True
    with workspace(tmp_path / "three", prefix=""):
        pass
    assert sorted(one.name.partition("-")[0] for one in tmp_path.iterdir()) == ["one", "three", "two"]


def test_a_path_is_meant_from_where_the_script_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the repository, into which it changes."""
    monkeypatch.setenv("INVOKED_FROM", str(tmp_path))
    assert asked_path("config") == tmp_path / "config"
    assert asked_path("/config") == Path("/config")


def test_a_machine_that_is_a_pod_is_not_the_demos_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own API server is none of the demo's business."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "KUBERNETES_SERVICE_HOST" not in environment(Path("/kubeconfig"))


def test_pytorch_is_found_outside_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first interpreter on PATH that has it; a shim is seen through."""
    (tmp_path / "none").mkdir()
    (tmp_path / "python3").write_text(
        f'#!/bin/sh\ncase "$2" in *torch*) exit 0;; *print*) echo {tmp_path}/real;; esac\n'
    )
    (tmp_path / "python3").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'none'}{os.pathsep}{tmp_path}")
    assert with_torch() == tmp_path / "real"


def test_versions_are_those_of_the_interpreter_that_measures() -> None:
    """And of the packages that it has."""
    found = versions(Path(sys.executable), ("pytest", "no-such-package"))
    assert found["pytest"] == pytest.__version__
    assert "no-such-package" not in found
    assert versions(Path("/nowhere")) == {}
    assert itself(Path("/nowhere")) == Path("/nowhere")
