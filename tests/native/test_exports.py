"""What the built library shows to the loader, and what it needs from it."""

import re

from tests.native.support import ROOT, Native, tool

NEWEST_GLIBC = (2, 17)


def hooks() -> set[str]:
    """The symbols that the hook list says are replaced."""
    text = (ROOT / "native/src/hooks.def").read_text()
    return set(re.findall(r"^(?:CUDA|NVML)\((\w+)", text, re.MULTILINE))


def test_exports_are_the_hooks(native: Native):
    """The library defines the replaced symbols, dlsym, and besides these only names of our own."""
    listing = tool(["nm", "-D", "--defined-only", str(native.interposer)])
    exported = {line.split()[-1].split("@")[0] for line in listing.splitlines() if " A " not in line}
    own = {name for name in exported if name.startswith("vramshare")}
    assert exported - own == hooks() | {"dlsym"}


def test_no_dependency_on_the_driver(native: Native):
    """It is loaded into every process, so it may need nothing but the C library."""
    needed = re.findall(r"NEEDED.*\[(.*)\]", tool(["readelf", "-d", str(native.interposer)]))
    assert set(needed) <= {"libc.so.6", "libdl.so.2", "libpthread.so.0"}


def test_it_loads_on_old_systems(native: Native):
    """No symbol newer than glibc 2.17 is needed, and none that musl lacks is needed strongly."""
    listing = tool(["objdump", "-T", str(native.interposer)])
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"\(?GLIBC_([\d.]+)\)?", listing)}
    assert max(versions, default=(0,)) <= NEWEST_GLIBC
    strong = re.findall(r"^\S+\s+(\S*)\s.*\bdlvsym$", listing, re.MULTILINE)
    assert all("w" in flags for flags in strong)


def test_thread_storage_is_static(native: Native):
    """No general-dynamic thread storage: musl cannot preload a library that has it."""
    relocations = tool(["readelf", "-rW", str(native.interposer)])
    assert "DTPMOD" not in relocations
    assert "TLSDESC" not in relocations
    assert "__tls_get_addr" not in relocations


def test_dlsym_answers_for_every_version(native: Native):
    """Programs ask for dlsym with either of glibc's versions, or with none: all find ours."""
    listing = tool(["nm", "-D", "--defined-only", "--with-symbol-versions", str(native.interposer)])
    assert re.search(r"\bdlsym(@|$)", listing, re.MULTILINE)
