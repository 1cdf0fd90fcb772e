"""Interposers of earlier versions go when nobody needs them any more."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from allocator.agent.hostproc import Proc
from allocator.agent.interposer import install
from allocator.agent.leftovers import LAG, tidy
from allocator.agent.tenancy import Ledger
from tests.unit.agent.scenes import grant, ledger
from tests.unit.agent.test_hostproc import put

SWITCHED = datetime(2026, 1, 1, tzinfo=UTC)
LATER = SWITCHED + LAG
OLD = "libvramshare-0.1.0-"


class Host:
    """A host folder with an old version and the current one."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "host"
        self.proc = root / "proc"
        self.proc.mkdir()
        source = root / "lib.so"
        for version, content in (("0.1.0", b"\x7fELF old"), ("0.2.0", b"\x7fELF new")):
            source.write_bytes(content)
            self.current = install(source, host_dir=self.folder, version=version).file
        (self.old,) = self.folder.glob(f"{OLD}*")
        self.half = self.folder / ".libvramshare-0.2.0-abcdefabcdef.so.0123abcd"
        self.half.touch()
        os.utime(self.folder / "ld.so.preload", (SWITCHED.timestamp(),) * 2)

    def tidy(self, books: Ledger | None, *, now: datetime = LATER) -> set[str]:
        """Names of what went."""
        return {one.name for one in tidy(self.folder, books, Proc(self.proc), now=now)}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """As it is after an upgrade."""
    return Host(tmp_path)


def test_what_nobody_needs_goes(host: Host) -> None:
    """The old version and what a broken installation left; the current one, its preload and the timetables stay."""
    assert host.tidy(ledger(replace(grant(), granted=LATER))) == {host.old.name, host.half.name}
    assert sorted(one.name for one in host.folder.iterdir()) == ["gpus", "ld.so.preload", host.current.name]
    assert host.tidy(ledger()) == set()


def test_a_pod_that_was_granted_before_keeps_its_version(host: Host) -> None:
    """A container of it may start again; so does one that was granted just after."""
    for granted in (SWITCHED - timedelta(days=30), SWITCHED + LAG - timedelta(seconds=1)):
        assert host.tidy(ledger(replace(grant(), granted=granted)), now=LATER + timedelta(days=1)) == set()


def test_a_process_keeps_what_it_has_mapped(host: Host) -> None:
    """Whatever the ledger says."""
    put(host.proc, 10, maps=f"7f00-7f01 r-xp 00000000 08:01 99 /opt/vramshare/{host.old.name}\n")
    assert host.tidy(ledger()) == {host.half.name}


def test_shortly_after_an_upgrade_nothing_goes(host: Host) -> None:
    """An allocator may still give out the old version."""
    assert host.tidy(ledger(), now=LATER - timedelta(seconds=1)) == set()


@pytest.mark.parametrize("books", [None, ledger(unreadable=frozenset({"x"}))], ids=["unknown", "unreadable"])
def test_without_a_ledger_nothing_goes(host: Host, books: Ledger | None) -> None:
    """Somebody may need it."""
    assert host.tidy(books) == set()


def test_where_maps_cannot_be_read_nothing_goes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any process may have it mapped."""
    put(host.proc, 10)

    def refused(*_: object, **__: object) -> Iterator[bytes]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Proc, "told", refused)
    assert host.tidy(ledger()) == set()


@pytest.mark.parametrize("preload", ["", "/opt/other.so\n", None])
def test_a_folder_without_a_current_version_is_left_alone(host: Host, preload: str | None) -> None:
    """Which one is current cannot be told."""
    file = host.folder / "ld.so.preload"
    file.unlink()
    if preload is not None:
        file.write_text(preload)
    assert host.tidy(ledger(), now=datetime.now(UTC) + timedelta(days=1)) == set()
