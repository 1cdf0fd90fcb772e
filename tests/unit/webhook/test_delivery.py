"""How the interposer comes into a pod, by what its namespace says and what Pod Security there allows."""

from typing import Any

import pytest

from allocator.api import names
from allocator.api.errors import NoCapacityError, RequestError
from tests.unit.webhook.support import FakeAllocator, admit, container, gpu_pod, mutating, pod
from webhook.settings import Delivery

IMAGE = "registry.example/vramshare-agent:0.1.0"
SETTINGS = mutating(interposer_image=IMAGE)


def in_namespace(*, level: str = "", delivery: str = "") -> FakeAllocator:
    """An allocator that has seen a namespace with this Pod Security level and this annotation."""
    metadata: dict[str, Any] = {"name": "team"}
    if level:
        metadata["labels"] = {names.POD_SECURITY_LABEL: level}
    if delivery:
        metadata["annotations"] = {names.DELIVERY: delivery}
    return FakeAllocator(namespaces={"team": {"metadata": metadata}})


def sources(made: dict[str, Any]) -> dict[str, str]:
    """Kinds of volumes by name."""
    return {volume["name"]: next(key for key in volume if key != "name") for volume in made["spec"]["volumes"]}


@pytest.mark.parametrize(
    ("level", "delivery", "kind"),
    [
        ("", "", "hostPath"),
        ("privileged", "auto", "hostPath"),
        ("baseline", "", "emptyDir"),
        ("restricted", "auto", "emptyDir"),
        ("restricted", "image", "image"),
        ("", "init", "emptyDir"),
        ("", "host", "hostPath"),
    ],
)
async def test_the_namespace_decides(level: str, delivery: str, kind: str) -> None:
    """By its annotation, or without one by its Pod Security level."""
    done = await admit(gpu_pod(), allocator=in_namespace(level=level, delivery=delivery), settings=SETTINGS)
    assert sources(done.pod)[names.VOLUME_LIBRARY] == kind
    assert ("hostPath" in sources(done.pod).values()) is (kind == "hostPath")
    deliverers = [one["name"] for one in done.spec.get("initContainers") or ()]
    assert deliverers == ([names.DELIVER_CONTAINER] if kind == "emptyDir" else [])


async def test_the_cluster_may_prefer_image_volumes() -> None:
    """Where nothing is annotated."""
    settings = mutating(interposer_image=IMAGE, strict_delivery=Delivery.IMAGE)
    done = await admit(gpu_pod(), allocator=in_namespace(level="restricted"), settings=settings)
    volume = next(one for one in done.spec["volumes"] if one["name"] == names.VOLUME_LIBRARY)
    assert volume["image"]["reference"] == IMAGE


@pytest.mark.parametrize("delivery", ["init", "image"])
async def test_a_pod_that_brings_its_library_names_it(delivery: str) -> None:
    """To the loader in both ways, and to whoever answers a queued pod; the mounts are where they always are."""
    done = await admit(gpu_pod(), allocator=in_namespace(delivery=delivery), settings=SETTINGS)
    assert done.annotations[names.LIBRARY] == names.DELIVERED_LIBRARY
    assert done.annotations[names.preload_annotation("main")] == names.DELIVERED_LIBRARY
    assert done.mounts().keys() >= {names.LIBRARY_DIR, names.PRELOAD_FILE, names.REGION_DIR, names.ALLOCATION_DIR}
    volume = next(one for one in done.spec["volumes"] if one["name"] == names.VOLUME_PRELOAD)
    assert names.LIBRARY in volume["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"]


async def test_a_queued_pod_brings_its_library_too() -> None:
    """Its way is settled when it is created, and nowhere else is its spec changed."""
    allocator = in_namespace(level="restricted")
    allocator.failure = NoCapacityError("nothing free", ())
    done = await admit(gpu_pod(), allocator=allocator, settings=SETTINGS)
    assert done.annotations[names.LIBRARY] == names.DELIVERED_LIBRARY
    assert done.annotations[names.STATUS] == names.STATUS_QUEUED


async def test_the_copy_is_there_before_anybody_needs_it() -> None:
    """The deliverer runs before the user's own init containers, and alone may write into the folder."""
    annotations = {names.MEMORY: "2Gi", names.CONTAINERS: "first"}
    asked = pod(annotations, container(), initContainers=[container("first")])
    done = await admit(asked, allocator=in_namespace(delivery="init"), settings=SETTINGS)
    assert [one["name"] for one in done.spec["initContainers"]] == [names.DELIVER_CONTAINER, "first"]
    writers = [
        one["name"]
        for one in [*done.spec["initContainers"], *done.spec["containers"]]
        for mount in one.get("volumeMounts") or ()
        if mount["name"] == names.VOLUME_LIBRARY and not mount.get("readOnly")
    ]
    assert writers == [names.DELIVER_CONTAINER]


async def test_the_deliverer_sees_no_gpu_and_may_run_anywhere() -> None:
    """What Pod Security `restricted` asks of a container."""
    done = await admit(gpu_pod(), allocator=in_namespace(level="restricted"), settings=SETTINGS)
    context = done.container(names.DELIVER_CONTAINER)["securityContext"]
    assert context["runAsNonRoot"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert done.env(names.DELIVER_CONTAINER)[names.ENV_VISIBLE] == names.VISIBLE_NONE


@pytest.mark.parametrize("delivery", ["init", "image", "host"])
async def test_a_second_look_changes_nothing(delivery: str) -> None:
    """The API server asks again after others have changed the pod."""
    allocator = in_namespace(delivery=delivery)
    once = await admit(gpu_pod(), allocator=allocator, settings=SETTINGS)
    again = await admit(once.pod, allocator=allocator, settings=SETTINGS)
    assert again.pod == once.pod
    assert not again.answer.patch


@pytest.mark.parametrize("delivery", ["init", "image"])
async def test_a_manifest_can_be_applied_again(delivery: str) -> None:
    """Without what was added to it."""
    allocator = in_namespace(delivery=delivery)
    stored = (await admit(gpu_pod(), allocator=allocator, settings=SETTINGS)).pod
    applied = gpu_pod(affinity=stored["spec"]["affinity"], tolerations=stored["spec"]["tolerations"])
    updated = await admit(applied, old=stored, allocator=allocator, settings=SETTINGS)
    assert updated.spec == stored["spec"]


async def test_a_brought_deliverer_is_dropped() -> None:
    """It could put something else in the library's place."""
    brought = pod({names.MEMORY: "2Gi"}, initContainers=[container(names.DELIVER_CONTAINER, command=["evil"])])
    for allocator in (in_namespace(), in_namespace(delivery="image")):
        done = await admit(brought, allocator=allocator, settings=SETTINGS)
        assert not done.spec.get("initContainers")
        assert any(names.DELIVER_CONTAINER in text for text in done.answer.warnings)
    replaced = (await admit(brought, allocator=in_namespace(delivery="init"), settings=SETTINGS)).container(
        names.DELIVER_CONTAINER
    )
    assert replaced["command"] != ["evil"]
    assert replaced["image"] == IMAGE


@pytest.mark.parametrize(
    ("level", "delivery", "image", "said"),
    [
        ("", "floppy", IMAGE, "write host, image, init or auto"),
        ("restricted", "host", IMAGE, "forbids hostPath volumes"),
        ("baseline", "", "", "--interposer-image"),
        ("", "image", "", "--interposer-image"),
    ],
)
async def test_what_cannot_be_says_why(level: str, delivery: str, image: str, said: str) -> None:
    """With the namespace's annotation, and what to write instead."""
    allocator = in_namespace(level=level, delivery=delivery)
    with pytest.raises(RequestError, match=said) as raised:
        await admit(gpu_pod(), allocator=allocator, settings=mutating(interposer_image=image))
    assert names.DELIVERY in str(raised.value)
    assert not allocator.asked, "nothing is granted to a pod that cannot be"


async def test_pods_without_gpu_need_no_delivery() -> None:
    """Whatever their namespace says."""
    done = await admit(pod(), allocator=in_namespace(delivery="floppy"))
    assert not done.spec.get("volumes")
