"""Projected volumes: their files, and how they change together."""

from pathlib import Path
from typing import Any

import pytest
from devcluster.kubelet import atomic
from devcluster.kubelet.payload import File, Origin, volume_files
from devcluster.kubelet.sources import ConfigError, Sources
from hypothesis import given
from hypothesis import strategies as st


def files(volume: dict[str, Any]) -> dict[str, File]:
    """The files of a volume."""
    pod = {
        "metadata": {"name": "p", "namespace": "n", "annotations": {"a": "1", "b": 'x"\n'}},
        "spec": {"containers": []},
    }
    sources = Sources(configmaps={"cm": {"k": b"v", "l": b"w"}}, secrets={}, namespace="n")
    return volume_files({"name": "v", **volume}, Origin(pod=pod, sources=sources, allocatable={}, tokens={"": "t"}))


def test_downward_items() -> None:
    """An annotation becomes a file's whole content; all of them become escaped lines."""
    items = [
        {"path": "one", "fieldRef": {"fieldPath": "metadata.annotations['a']"}},
        {"path": "all", "fieldRef": {"fieldPath": "metadata.annotations"}, "mode": 0o400},
    ]
    found = files({"downwardAPI": {"items": items}})
    assert found == {"one": File(b"1"), "all": File(b'a="1"\nb="x\\"\\n"', 0o400)}


def test_config_map_keys_and_modes() -> None:
    """Without items all keys appear; with items only those, under their paths."""
    assert files({"configMap": {"name": "cm", "defaultMode": 0o600}}) == {
        "k": File(b"v", 0o600),
        "l": File(b"w", 0o600),
    }
    assert files({"configMap": {"name": "cm", "items": [{"key": "k", "path": "d/x"}]}}) == {"d/x": File(b"v")}


def test_several_sources_in_one_volume() -> None:
    """A projected volume is the union of its sources, the token among them."""
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "cm", "items": [{"key": "k", "path": "k"}]}},
    ]
    assert files({"projected": {"sources": sources}}) == {"token": File(b"t"), "k": File(b"v")}


def test_missing_config_map() -> None:
    """A missing object is an error unless it is optional."""
    with pytest.raises(ConfigError, match='configmap "no" not found'):
        files({"configMap": {"name": "no"}})
    assert files({"configMap": {"name": "no", "optional": True}}) == {}


CONTENTS = st.dictionaries(
    st.sampled_from(["a", "b", "d/x", "d/y"]), st.builds(File, st.binary(max_size=9), st.sampled_from([0o644, 0o400]))
)


@given(st.lists(CONTENTS, min_size=1, max_size=4))
def test_a_folder_shows_the_newest_files(
    tmp_path_factory: pytest.TempPathFactory, versions: list[dict[str, File]]
) -> None:
    """Whatever was there before, exactly the newest files are visible, through one dated folder."""
    folder = tmp_path_factory.mktemp("volume")
    for version in versions:
        atomic.write(str(folder), version, 0)
    visible = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not str(path.relative_to(folder)).startswith("..")
    }
    top = {name.split("/")[0] for name in versions[-1]}
    assert {path.name for path in folder.iterdir() if not path.name.startswith("..")} == top
    assert {name: (folder / name).read_bytes() for name in versions[-1]} == {
        name: file.data for name, file in versions[-1].items()
    }
    assert set(visible) <= set(versions[-1])
    assert len([path for path in folder.iterdir() if path.name.startswith("..") and path.name != "..data"]) == 1


def test_unchanged_files_are_not_written_again(tmp_path: Path) -> None:
    """A watcher in the container is not woken for nothing."""
    assert atomic.write(str(tmp_path), {"a": File(b"1")}, 0)
    before = (tmp_path / "..data").readlink()
    assert not atomic.write(str(tmp_path), {"a": File(b"1")}, 99)
    assert (tmp_path / "..data").readlink() == before


def test_files_change_by_one_rename(tmp_path: Path) -> None:
    """Visible names never change, only what the one link points to."""
    atomic.write(str(tmp_path), {"a": File(b"1")}, 0)
    link = (tmp_path / "a").readlink()
    atomic.write(str(tmp_path), {"a": File(b"2")}, 1)
    assert ((tmp_path / "a").readlink(), (tmp_path / "a").read_bytes()) == (link, b"2")
    assert str(link) == "..data/a"


def test_a_file_that_is_gone_is_not_visible(tmp_path: Path) -> None:
    """Not even as a link to nothing."""
    atomic.write(str(tmp_path), {"a": File(b"1"), "b": File(b"2")}, 0)
    atomic.write(str(tmp_path), {"b": File(b"2")}, 1)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("..")] == ["b"]
