"""`vramshare run`: what the command's environment says, and what comes back from it."""

import os
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from allocator.api.errors import VramshareError
from allocator.api.quantities import Memory, MemoryShare
from allocator.cli import run
from allocator.cli.run import Slice, command, environment, find_interposer, slice_of

# A library that the dynamic linker accepts and that does nothing: the test is not about the interposer.
HARMLESS = next(path for path in Path("/").glob("lib*/**/libm.so.6") if path.is_file())


def parsed(*words: str) -> Namespace:
    """The command line as the console script would read it."""
    parser = ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([*words])


def outcome(*words: str) -> int:
    """Run a command behind 2 GiB."""
    return command.run(parsed("--memory", "2Gi", "--interposer", str(HARMLESS), *words))


@pytest.mark.parametrize(
    ("asked", "memory"), [(Memory(2 << 30), "2147483648"), (MemoryShare(200), "20%"), (MemoryShare(125), "12.5%")]
)
def test_limits_reach_the_environment(asked: Memory | MemoryShare, memory: str):
    """Bytes and percentages are written as the interposer reads them; cores only if asked."""
    with_cores = environment(Slice(asked, 25, HARMLESS), region=Path("/r"), base={})
    without = environment(Slice(asked, None, HARMLESS), region=Path("/r"), base={"VRAMSHARE_CORES": "90"})
    assert with_cores["VRAMSHARE_MEMORY"] == memory
    assert with_cores["VRAMSHARE_CORES"] == "25"
    assert with_cores["VRAMSHARE_REGION"] == "/r"
    assert "VRAMSHARE_CORES" not in without


def test_other_preloads_stay_behind_ours():
    """What was preloaded before still is, after the interposer; the interposer only once."""
    base = {"LD_PRELOAD": f"/a.so {HARMLESS}:/b.so", "HOME": "/h"}
    result = environment(Slice(Memory(1 << 30), None, HARMLESS), region=Path("/r"), base=base)
    assert result["LD_PRELOAD"] == f"{HARMLESS}:/a.so:/b.so"
    assert result["HOME"] == "/h"


def test_a_library_that_cannot_be_named_is_refused():
    """LD_PRELOAD splits at blanks and colons: such a path would load nothing, silently."""
    with pytest.raises(VramshareError, match="move the library"):
        environment(Slice(Memory(1 << 30), None, Path("/my libs/x.so")), region=Path("/r"), base={})


@pytest.mark.parametrize(
    ("words", "message"), [(("--memory", "2048"), "2048Mi"), (("--memory", "2Gi", "--cores", "0"), "--cores '0'")]
)
def test_wrong_sizes_are_refused_with_a_remedy(words: tuple[str, ...], message: str):
    """The error names option and value, and says what to write."""
    with pytest.raises(VramshareError, match=message):
        slice_of(parsed(*words), {})


def test_a_missing_interposer_says_where_it_was_looked_for(tmp_path: Path):
    """Named by option or variable, exactly that file is meant."""
    with pytest.raises(VramshareError, match="absent"):
        find_interposer(tmp_path / "absent.so", {})
    with pytest.raises(VramshareError, match="other"):
        find_interposer(None, {"VRAMSHARE_INTERPOSER": str(tmp_path / "other.so")})
    assert find_interposer(HARMLESS, {"VRAMSHARE_INTERPOSER": "/x.so"}) == HARMLESS.resolve()


def test_the_command_runs_with_its_limits(tmp_path: Path):
    """It sees the variables, and a folder for the region that is gone afterwards."""
    out = tmp_path / "out"
    script = (
        f'echo "$VRAMSHARE_MEMORY $(dirname "$VRAMSHARE_REGION")" > {out}; test -d "$(dirname "$VRAMSHARE_REGION")"'
    )
    assert outcome("--", "sh", "-c", script) == 0
    memory, folder = out.read_text().split()
    assert memory == str(2 << 30)
    assert not Path(folder).exists()


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_commands(script: str, code: int):
    """As a shell would say it."""
    assert outcome("--", "sh", "-c", script) == code


def test_a_missing_command_is_127(capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """As a shell would say it; a file that is no program is 126."""
    (tmp_path / "text").write_text("x")
    assert outcome("--", "no-such-command-here") == 127
    assert outcome("--", str(tmp_path / "text")) == 126
    assert "no such command" in capfd.readouterr().err


def test_a_command_is_needed():
    """Without one the error shows where to write it."""
    with pytest.raises(VramshareError, match="-- python3"):
        outcome()


def test_it_refuses_where_a_pod_sets_the_limits(monkeypatch: pytest.MonkeyPatch):
    """The allocation file wins in the interposer; a slice from the environment would be imagined."""
    monkeypatch.setattr(run, "ALLOCATION_FILE", Path("/etc/passwd"))
    with pytest.raises(VramshareError, match="pod sets the limits"):
        outcome("--", "true")


def test_signals_reach_the_command():
    """SIGTERM to us ends it, and its code says so."""
    program = (
        "import argparse, sys; from allocator.cli.run import command; p = argparse.ArgumentParser(); "
        "command.add_arguments(p); sys.exit(command.run(p.parse_args(sys.argv[1:])))"
    )
    words = ["--memory", "1Gi", "--interposer", str(HARMLESS), "--", "sh", "-c", "echo up; exec sleep 60"]
    started = subprocess.Popen(  # noqa: S603 - this interpreter, with words from above
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert started.stdout is not None
    assert started.stdout.readline() == b"up\n"
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=30) == 128 + signal.SIGTERM
    started.stdout.close()


def test_a_library_that_the_loader_passes_over_runs_nothing(tmp_path: Path):
    """It would say a line and run the command without a wall."""
    (tmp_path / "broken.so").write_bytes(b"no library")
    asked = parsed("--memory", "2Gi", "--interposer", str(tmp_path / "broken.so"), "--", "touch", str(tmp_path / "ran"))
    with pytest.raises(VramshareError, match="touch is not run, for it would have no wall"):
        command.run(asked)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("named", ["gone/region", "."])
def test_a_region_that_cannot_be_shared_is_refused(tmp_path: Path, named: str):
    """Each process would have the whole slice."""
    with pytest.raises(VramshareError, match=r"--region .*another"):
        outcome("--region", str(tmp_path / named), "--", "true")
    assert outcome("--region", str(tmp_path / "region"), "--", "true") == 0
