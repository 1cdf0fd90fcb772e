"""Whom a process belongs to, by its control groups: each form that a runtime and a distribution give them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.agent.cgroups import Owner, owner_of

UID = "0b6f7a1e-1234-4abc-8def-000000000001"
OTHER = "0b6f7a1e-1234-4abc-8def-000000000002"
STATIC = "86d5dda9f4c3a7bc0f4b2a1e7c9d8e6f"
ID = "ab" * 32
INNER = "cd" * 32


def escaped(uid: str) -> str:
    """A UID in the name of a systemd slice."""
    return uid.replace("-", "_")


SLICE = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice"
FORMS = {
    "v2, systemd, containerd": f"0::{SLICE.format(escaped(UID))}/cri-containerd-{ID}.scope",
    "v2, systemd, CRI-O": f"0::{SLICE.format(escaped(UID))}/crio-{ID}.scope",
    "v2, systemd, CRI-O with crun": f"0::{SLICE.format(escaped(UID))}/crio-{ID}.scope/container",
    "v2, systemd, Docker": f"0::{SLICE.format(escaped(UID))}/docker-{ID}.scope",
    "v2, systemd, guaranteed": f"0::/kubepods.slice/kubepods-pod{escaped(UID)}.slice/cri-containerd-{ID}.scope",
    "v2, cgroupfs, containerd": f"0::/kubepods/burstable/pod{UID}/{ID}",
    "v2, cgroupfs, guaranteed": f"0::/kubepods/pod{UID}/{ID}",
    "v2, cgroupfs, CRI-O": f"0::/kubepods/besteffort/pod{UID}/crio-{ID}",
    "v2, init system in the container": f"0::{SLICE.format(escaped(UID))}/cri-containerd-{ID}.scope/init.scope",
    "v2, k3s": f"0::/kubepods/besteffort/pod{UID}/{ID}",
    "v2, seen from another container": f"0::/../../kubepods-pod{escaped(UID)}.slice/cri-containerd-{ID}.scope",
    "v2, kind, systemd": (
        "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
        f"kubelet-kubepods-burstable-pod{escaped(UID)}.slice/cri-containerd-{ID}.scope"
    ),
    "v1, kind": f"12:cpu:/docker/{INNER}/kubelet/kubepods/burstable/pod{UID}/{ID}",
    "v1, k3d": f"5:devices:/docker/{INNER}/kubepods/burstable/pod{UID}/{ID}",
    "v1, MicroK8s": f"11:memory:/kubepods/burstable/pod{UID}/{ID}\n1:name=systemd:/kubepods/burstable/pod{UID}/{ID}",
    "v1, drivers disagree": (
        f"11:memory:/system.slice/containerd.service/kubepods-burstable-pod{escaped(UID)}.slice:cri-containerd:{ID}"
    ),
    "v1, k3s, drivers disagree": (
        f"4:pids:/system.slice/k3s.service/kubepods-besteffort-pod{escaped(UID)}.slice:cri-containerd:{ID}"
    ),
    "hybrid": f"9:name=systemd:{SLICE.format(escaped(UID))}/cri-containerd-{ID}.scope\n0::/",
    "Docker in the pod": f"0::/kubepods/burstable/pod{UID}/{ID}/docker/{INNER}",
    "cluster in the pod": f"0::/kubepods/pod{UID}/{ID}/kubelet/kubepods/burstable/pod{OTHER}/{INNER}",
    "a container's attempt to be another": (
        f"0::{SLICE.format(escaped(UID))}/cri-containerd-{ID}.scope/kubepods-pod{escaped(OTHER)}.slice/crio-{INNER}.scope"
    ),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_a_containers_process(text: str) -> None:
    """Pod and container come out of each form."""
    assert owner_of(text + "\n") == Owner(UID, ID)


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        (f"0::/kubepods/burstable/pod{STATIC}/{ID}", Owner(STATIC, ID)),
        (
            f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/crio-{ID}.scope",
            Owner(STATIC, ID),
        ),
        (f"0::/kubepods/burstable/pod{UID}", Owner(UID)),
        (f"0::{SLICE.format(escaped(UID))}/crio-conmon-{ID}.scope", Owner(UID)),
    ],
    ids=["static pod, cgroupfs", "static pod, systemd", "the pod's own group", "CRI-O's monitor"],
)
def test_other_processes_of_a_pod(text: str, owner: Owner) -> None:
    """Static pods go by a hash; what is of no container is the pod's all the same."""
    assert owner_of(text) == owner


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/",
        "0::/init.scope",
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/pod-racing.service",
        f"0::/system.slice/docker-{ID}.scope",
        "0::/system.slice/kubelet.service",
        "0::/kubepods/burstable/podnonsense/abc",
        "13:misc",
    ],
)
def test_processes_of_no_pod(text: str) -> None:
    """The host's own, a plain container's, and what only looks like a pod's."""
    assert owner_of(text) is None


def test_hierarchies_that_disagree() -> None:
    """A process that was moved in one hierarchy of version 1 stays with its pod."""
    mine = f"/kubepods/burstable/pod{UID}/{ID}"
    text = f"3:memory:{mine}\n2:cpu:/kubepods/pod{OTHER}/{INNER}\n1:pids:{mine}\n0::/"
    assert owner_of(text) == Owner(UID, ID)


@given(text=st.text())
def test_no_text_is_too_strange(text: str) -> None:
    """Whatever stands there, reading it ends."""
    owner_of(text)
    owner_of(f"0::/kubepods/burstable/pod{UID}/{text}")
