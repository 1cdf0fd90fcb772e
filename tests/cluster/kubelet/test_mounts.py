"""Planning volumes and mounts."""

from pathlib import Path
from typing import Any

import pytest
from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.mounts import check_visible, image_binds, plan_mounts, rewrite
from devcluster.kubelet.payload import Origin
from devcluster.kubelet.plan import Bind
from devcluster.kubelet.sources import ConfigError, Sources
from devcluster.kubelet.volumes import Volume, VolumeError, plan_volumes, set_up

VOLUMES = [Volume(name="v", path="/node/v", kind="empty"), Volume(name="w", path="/node/w", kind="empty")]


def pod(*volumes: dict[str, Any]) -> dict[str, Any]:
    """A pod with these volumes."""
    return {
        "metadata": {"uid": "u", "name": "p", "namespace": "n"},
        "spec": {"containers": [], "volumes": list(volumes)},
    }


def mounts(*entries: dict[str, Any]) -> list[Bind]:
    """The binds of these volumeMounts."""
    return plan_mounts({"name": "c", "volumeMounts": list(entries)}, VOLUMES, {"HOSTNAME": "h"})


def set_up_host_path(tmp_path: Path, path: str, kind: str) -> None:
    """Set a hostPath volume up on a node of its own."""
    host = HostFolder(str(tmp_path))
    host.make()
    item = pod({"name": "v", "hostPath": {"path": path, "type": kind}})
    origin = Origin(pod=item, sources=Sources({}, {}), allocatable={})
    for volume in plan_volumes(item, host):
        set_up(volume, origin, now=0, mount_memory=False)


def test_volumes_lie_where_a_real_kubelet_has_them() -> None:
    """The agent finds usage regions below the pod's folder of the node's kubelet."""
    found = plan_volumes(
        pod({"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, {"name": "a", "downwardAPI": {}}),
        HostFolder("/base"),
    )
    assert [(volume.path, volume.kind, volume.size) for volume in found] == [
        ("/base/root/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/run", "memory", 1024**2),
        ("/base/root/var/lib/kubelet/pods/u/volumes/kubernetes.io~downward-api/a", "projected", None),
    ]


def test_parents_are_mounted_before_children() -> None:
    """A mount inside another one must come later, or it would be hidden."""
    found = mounts({"name": "v", "mountPath": "/a/b/c"}, {"name": "w", "mountPath": "/a", "readOnly": True})
    assert found == [Bind("/node/w", "/a", read_only=True), Bind("/node/v", "/a/b/c")]


def test_sub_paths_lie_inside_the_volume() -> None:
    """A subPath or subPathExpr chooses a folder of the volume."""
    found = mounts(
        {"name": "v", "mountPath": "/a", "subPath": "x/y"},
        {"name": "v", "mountPath": "/b", "subPathExpr": "$(HOSTNAME)"},
    )
    assert [bind.source for bind in found] == ["/node/v/x/y", "/node/v/h"]


@pytest.mark.parametrize("inner", ["..", "../w", "a/../../w"])
def test_sub_paths_cannot_leave_the_volume(inner: str) -> None:
    """A subPath with dots cannot reach other volumes or the host."""
    with pytest.raises(ConfigError, match="not within volume path"):
        mounts({"name": "v", "mountPath": "/a", "subPath": inner})


@pytest.mark.parametrize("path", ["/", "/srv", "/srv/lab/venv", "/srv/lab/"])
def test_a_mount_over_what_containers_run_from_is_refused(path: str) -> None:
    """With both paths: the container would only say that a program or a library is not there."""
    with pytest.raises(ConfigError, match=r"mountPath /\S* would hide /srv/lab/venv"):
        check_visible(mounts({"name": "v", "mountPath": path}), ["/srv/lab/venv", "/lib/driver"])


def test_mounts_beside_and_inside_are_let_pass() -> None:
    """A common prefix of names hides nothing."""
    beside = [{"name": "v", "mountPath": path} for path in ("/sr", "/srv/lab/venv/x", "/srv/other", "/lib/d")]
    check_visible(mounts(*beside), ["/srv/lab/venv", "/lib/driver"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("/m/lib.so:/other", "/node/v/lib.so:/other"), ("/m /mm", "/node/v /mm"), ("prefix/m", "prefix/m")],
)
def test_rewriting_paths_without_mounts(text: str, expected: str) -> None:
    """Where nothing can be mounted, words below a mount path become the host's paths."""
    assert rewrite(text, [Bind("/node/v", "/m")]) == expected


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Directory", "a directory"),
        ("File", "a file"),
        ("Socket", "a socket file"),
        ("CharDevice", "a character device"),
        ("BlockDevice", "a block device"),
    ],
)
def test_a_missing_host_path_of_a_required_type(tmp_path: Path, kind: str, words: str) -> None:
    """It is an error in a real kubelet's words, which names the node's path, not this machine's."""
    with pytest.raises(VolumeError) as caught:
        set_up_host_path(tmp_path, "/var/lib/x", kind)
    expected = f'MountVolume.SetUp failed for volume "v" : hostPath type check failed: /var/lib/x is not {words}'
    assert str(caught.value) == expected


@pytest.mark.parametrize(("kind", "is_folder"), [("DirectoryOrCreate", True), ("", True), ("FileOrCreate", False)])
def test_host_paths_that_are_created(tmp_path: Path, kind: str, *, is_folder: bool) -> None:
    """These types make what is missing, inside the node's root."""
    set_up_host_path(tmp_path, "/opt/x", kind)
    made = tmp_path / "root" / "opt" / "x"
    assert made.is_dir() is is_folder
    assert made.exists()


def test_a_host_path_of_the_wrong_type(tmp_path: Path) -> None:
    """A folder where a file is required is refused."""
    (tmp_path / "root" / "opt" / "x").mkdir(parents=True)
    with pytest.raises(VolumeError, match="/opt/x is not a file"):
        set_up_host_path(tmp_path, "/opt/x", "File")


def test_an_image_volume_is_read_only_and_needs_its_files(tmp_path: Path) -> None:
    """A subPath of it is a folder of the image; a node without the image's files cannot set it up."""
    host = HostFolder(str(tmp_path))
    host.make()
    item = pod({"name": "v", "image": {"reference": "registry.example/tool:1"}})
    (volume,) = plan_volumes(item, host)
    origin = Origin(pod=item, sources=Sources({}, {}), allocatable={})
    with pytest.raises(VolumeError, match=r'Failed to pull image "registry\.example/tool:1"'):
        set_up(volume, origin, now=0, mount_memory=False)
    library = tmp_path / "images" / "registry.example_tool_1" / "usr" / "lib" / "tool"
    library.mkdir(parents=True)
    set_up(volume, origin, now=0, mount_memory=False)
    entry = {"name": "v", "mountPath": "/opt/tool", "subPath": "usr/lib/tool"}
    (bind,) = plan_mounts({"name": "c", "volumeMounts": [entry]}, [volume], {})
    assert bind == Bind(str(library), "/opt/tool", read_only=True)


def test_files_of_an_image_appear_in_its_containers(tmp_path: Path) -> None:
    """At their places; the machine's own folders around them stay."""
    folder = tmp_path / "usr" / "lib" / "tool"
    folder.mkdir(parents=True)
    (folder / "tool.so").touch()
    assert image_binds(str(tmp_path)) == [Bind(str(folder), "/usr/lib/tool", read_only=True)]
    assert image_binds(str(tmp_path / "no-such-image")) == []
