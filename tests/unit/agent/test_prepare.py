"""What must be true of a node before its GPUs are offered."""

from pathlib import Path

import pytest

from allocator.agent.prepare import NodePreparation
from allocator.api.inventory import Strategy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A library as built, of which no test here asks more than its first bytes."""
    file = tmp_path / "libvramshare.so"
    file.write_bytes(b"\x7fELF and the rest")
    return file


def made(source: Path, *, chosen: Strategy | None = Strategy.ENV, problem: str = "") -> NodePreparation:
    """A preparation whose test process says what it is told."""
    return NodePreparation(
        source=source,
        host_dir=source.parent / "host",
        version="1.0",
        chosen=chosen,
        root=source.parent,
        load=lambda _: problem,
    )


def test_a_sound_node_is_prepared_and_stays_so(source: Path) -> None:
    """Installed, loaded, strategy known, nothing to say against it."""
    node = made(source)
    found = node.prepare()
    assert (found.reason, found.strategy, found.in_cdi) == ("", Strategy.ENV, None)
    assert node.intact(found)


def test_an_interposer_that_does_not_load_is_the_reason(source: Path) -> None:
    """It stays installed: containers that run may have it mounted."""
    found = made(source, problem="noexec").prepare()
    assert found.reason == "noexec"
    assert found.installed is not None


def test_a_missing_interposer_is_the_reason(tmp_path: Path) -> None:
    """Nothing is installed, and nothing counts as intact."""
    node = made(tmp_path / "none.so")
    found = node.prepare()
    assert "cannot be read" in found.reason
    assert not node.intact(found)


def test_an_unknown_strategy_is_the_reason(source: Path) -> None:
    """The host has no trace of NVIDIA's container toolkit."""
    found = made(source, chosen=None).prepare()
    assert found.strategy is Strategy.NONE
    assert "container toolkit" in found.reason


def test_a_cdi_spec_made_later_is_noticed(source: Path) -> None:
    """The node is prepared anew, and its GPU becomes usable."""
    node = made(source, chosen=Strategy.CDI)
    found = node.prepare()
    assert found.in_cdi == frozenset()
    spec = source.parent / "etc" / "cdi" / "nvidia.yaml"
    spec.parent.mkdir(parents=True)
    spec.write_text("kind: nvidia.com/gpu\ndevices:\n  - name: GPU-1\n")
    assert not node.intact(found)
    assert node.prepare().in_cdi == {"GPU-1"}
