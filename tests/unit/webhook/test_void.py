"""Pods that ask for no GPU, and pods that are left alone."""

import pytest

from allocator.api.errors import RequestError
from tests.unit.webhook.support import FakeAllocator, admit, container, env, gpu_pod, pod


async def test_every_container_is_kept_from_gpus() -> None:
    """CUDA images bake in `all`: each container, of each kind, gets `void`, and nobody is asked for a grant."""
    got = await admit(pod(None, container("a"), container("b"), initContainers=[container("i")]))
    assert [got.env(name) for name in "abi"] == [{"NVIDIA_VISIBLE_DEVICES": "void"}] * 3
    assert not got.allocator.asked
    assert "volumes" not in got.spec
    assert got.answer.audit == {"reason": "asks for no GPU"}


async def test_a_users_choice_of_gpus_is_replaced_with_a_warning() -> None:
    """`all` without a request would be a GPU without a wall."""
    got = await admit(pod(None, container(env=env(NVIDIA_VISIBLE_DEVICES="all", A="1"))))
    assert got.env() == {"NVIDIA_VISIBLE_DEVICES": "void", "A": "1"}
    assert "NVIDIA_VISIBLE_DEVICES is now void" in got.answer.warnings[0]


async def test_users_preload_is_left_alone_without_a_slice() -> None:
    """A container that has no GPU is none of our business otherwise."""
    got = await admit(pod(None, container(env=env(LD_PRELOAD="/a.so"))))
    assert got.env()["LD_PRELOAD"] == "/a.so"


async def test_no_gpus_asked_by_resources_is_no_gpu() -> None:
    """`nvidia.com/gpu: 0` asks for none, and goes all the same: no node advertises it."""
    got = await admit(pod(None, container(resources={"limits": {"nvidia.com/gpu": "0", "cpu": "1"}})))
    assert got.container()["resources"] == {"limits": {"cpu": "1"}}
    assert got.env() == {"NVIDIA_VISIBLE_DEVICES": "void"}


async def test_mount_that_chooses_gpus_is_refused() -> None:
    """The NVIDIA runtime can take a container's GPUs from the names of its mounts; that way in is closed to all."""
    mounts = [{"name": "n", "mountPath": "/var/run/nvidia-container-devices/all"}]
    with pytest.raises(RequestError, match="takes mounts there for a choice of GPUs"):
        await admit(pod(None, container(volumeMounts=mounts)))


async def test_opted_out_pod_is_untouched() -> None:
    """The label takes one pod out, whatever it asks."""
    made = gpu_pod()
    made["metadata"]["labels"] = {"vramshare.io/inject": "disabled"}
    got = await admit(made)
    assert not got.answer.patch
    assert got.answer.allowed


async def test_own_namespace_is_untouched() -> None:
    """Our own pods must start before anybody can answer for them."""
    got = await admit(gpu_pod(), namespace="vramshare-system")
    assert not got.answer.patch


async def test_non_gpu_pods_do_not_need_the_allocator() -> None:
    """They are answered while the allocator is failing."""
    got = await admit(pod(), allocator=FakeAllocator(failure=RuntimeError("down")))
    assert got.answer.allowed
