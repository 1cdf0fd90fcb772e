"""The test process that loads the interposer, on real libraries and real loaders."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from allocator import probe


def build(folder: Path, text: str) -> Path:
    """A shared library out of C source."""
    source = folder / "lib.c"
    source.write_text(text)
    library = folder / "lib.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)  # noqa: S603 - our own source
    return library


def test_a_library_that_loads_is_good(tmp_path: Path) -> None:
    """Nothing to say about it."""
    assert probe.load(build(tmp_path, "int vramshare_probe = 1;")) == ""


def test_a_library_reached_through_a_link_is_good(tmp_path: Path) -> None:
    """/var/lib may be a link; the loader shows the real path."""
    (tmp_path / "real").mkdir()
    build(tmp_path / "real", "int vramshare_probe = 1;")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert probe.load(tmp_path / "linked" / "lib.so") == ""


def test_a_library_of_another_architecture_is_found(tmp_path: Path) -> None:
    """The loader would pass over it in silence for the program; here its words become the reason."""
    library = build(tmp_path, "int vramshare_probe = 1;")
    content = bytearray(library.read_bytes())
    content[18:20] = b"\xf3\x00"  # e_machine: RISC-V
    library.write_bytes(content)
    said = probe.load(library)
    assert said.startswith("the interposer cannot be loaded:")
    assert "lib.so" in said


def test_a_missing_library_is_found(tmp_path: Path) -> None:
    """Deleted between installation and test."""
    assert "cannot be loaded" in probe.load(tmp_path / "none.so")


def test_a_library_that_kills_its_process_is_found(tmp_path: Path) -> None:
    """A crash in the constructor would kill every container's programs."""
    text = "#include <stdlib.h>\n__attribute__((constructor)) static void go(void) { abort(); }\n"
    assert "dies of signal 6" in probe.load(build(tmp_path, text))


def test_a_process_that_hangs_is_given_up() -> None:
    """The agent waits for its test process, but not for ever."""

    def run(argv: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        raise subprocess.TimeoutExpired(argv, probe.PATIENCE)

    assert "hangs" in probe.load(Path("/x.so"), run=run)


def test_a_host_that_starts_no_process_is_a_reason() -> None:
    """Out of processes or memory: told, not raised."""

    def run(argv: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        raise OSError(11, "Resource temporarily unavailable")

    assert "Resource temporarily unavailable" in probe.load(Path("/x.so"), run=run)


@pytest.mark.parametrize("name", ["LD_PRELOAD"])
def test_only_the_interposer_is_preloaded(name: str) -> None:
    """What the agent's own environment preloads must not speak for our library."""
    seen: dict[str, str] = {}

    def run(argv: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        seen.update(env)
        return subprocess.CompletedProcess(argv, 0, "", "")

    probe.load(Path("/x.so"), run=run)
    assert seen[name] == "/x.so"
