"""The interposer's installation on the host."""

import hashlib
import os
from pathlib import Path

import pytest

from allocator.agent.interposer import InstallError, in_place, install

ELF = b"\x7fELF" + bytes(range(200))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A library as built."""
    file = tmp_path / "libvramshare.so"
    file.write_bytes(ELF)
    return file


def test_the_name_carries_version_and_content(source: Path, tmp_path: Path) -> None:
    """Two builds never share a name, so a running pod keeps its own."""
    host = tmp_path / "host"
    first = install(source, host_dir=host, version="1.2.0")
    assert first.file.name == f"libvramshare-1.2.0-{hashlib.sha256(ELF).hexdigest()[:12]}.so"
    assert first.path == f"/opt/vramshare/{first.file.name}"
    assert first.file.read_bytes() == ELF
    source.write_bytes(ELF + b"newer")
    second = install(source, host_dir=host, version="1.2.0")
    assert second.file != first.file
    assert first.file.read_bytes() == ELF


def test_the_preload_file_names_the_newest_and_is_replaced_by_rename(source: Path, tmp_path: Path) -> None:
    """A container that has the older file mounted keeps its inode and content."""
    host = tmp_path / "host"
    first = install(source, host_dir=host, version="1")
    preload = host / "ld.so.preload"
    assert preload.read_text() == f"{first.path}\n"
    with preload.open() as mounted:
        source.write_bytes(ELF + b"newer")
        second = install(source, host_dir=host, version="1")
        assert mounted.read() == f"{first.path}\n"
    assert preload.read_text() == f"{second.path}\n"


def test_installing_again_changes_nothing(source: Path, tmp_path: Path) -> None:
    """The agent's restart touches no file that containers have open."""
    host = tmp_path / "host"
    installed = install(source, host_dir=host, version="1")
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in host.iterdir() if file.is_file()}
    assert install(source, host_dir=host, version="1") == installed
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in before} == before


def test_files_are_readable_by_every_user_whatever_the_umask(source: Path, tmp_path: Path) -> None:
    """Containers run as any user; only the host's root writes."""
    old = os.umask(0o077)
    try:
        installed = install(source, host_dir=tmp_path / "host", version="1")
    finally:
        os.umask(old)
    assert installed.file.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "host" / "ld.so.preload").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "host").stat().st_mode & 0o777 == 0o755


def test_the_timetables_folder_is_made(source: Path, tmp_path: Path) -> None:
    """The mount in the containers needs it to exist."""
    install(source, host_dir=tmp_path / "host", version="1")
    assert (tmp_path / "host" / "gpus").is_dir()


def test_a_failed_write_leaves_no_rest(source: Path, tmp_path: Path) -> None:
    """What cannot be put in place leaves the folder as it was."""
    host = tmp_path / "host"
    (host / "ld.so.preload").mkdir(parents=True)
    with pytest.raises(InstallError, match="give a writable folder"):
        install(source, host_dir=host, version="1")
    assert not [file.name for file in host.iterdir() if file.name.startswith(".")]


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    """A script, an empty file and a missing file are named with a remedy."""
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    with pytest.raises(InstallError, match="not a shared library; build it"):
        install(text, host_dir=tmp_path / "host", version="1")
    with pytest.raises(InstallError, match="cannot be read: No such file"):
        install(tmp_path / "none", host_dir=tmp_path / "host", version="1")


def test_a_folder_that_the_loader_would_split_is_refused(source: Path, tmp_path: Path) -> None:
    """The loader separates preloads by spaces and colons."""
    with pytest.raises(InstallError, match="space or a colon"):
        install(source, host_dir=tmp_path / "a b", version="1")


@pytest.mark.parametrize("harm", ["library", "emptied", "preload", "edited"])
def test_a_later_loss_is_noticed(source: Path, tmp_path: Path, harm: str) -> None:
    """Somebody cleans the folder up: the agent sees it at its next turn and mends it."""
    host = tmp_path / "host"
    installed = install(source, host_dir=host, version="1")
    assert in_place(installed, host_dir=host)
    match harm:
        case "library":
            installed.file.unlink()
        case "emptied":
            installed.file.write_bytes(b"")
        case "preload":
            (host / "ld.so.preload").unlink()
        case _:
            (host / "ld.so.preload").write_text("/lib/other.so\n")
    assert not in_place(installed, host_dir=host)
    assert install(source, host_dir=host, version="1") == installed
    assert in_place(installed, host_dir=host)
