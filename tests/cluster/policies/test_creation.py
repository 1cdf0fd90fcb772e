"""What a new pod may bring along where nobody has looked at it: no webhook is registered here."""

from http import HTTPStatus
from typing import Any

import pytest

from allocator.api import names
from tests.cluster.api import Answer
from tests.cluster.policies.conftest import EDITOR, People
from tests.unit.webhook.support import admit, container, env, gpu_pod, pod

pytestmark = pytest.mark.asyncio(loop_scope="module")
Json = dict[str, Any]


def anonymous(made: Json, namespace: str) -> Json:
    """The pod, to be created under any name in a namespace."""
    rest = {key: value for key, value in made["metadata"].items() if key != "name"}
    return {**made, "metadata": {**rest, "namespace": namespace, "generateName": "p-"}}


async def create(people: People, made: Json, *, namespace: str = "team") -> str:
    """Create the pod; what kubectl printed."""
    return await people.must(EDITOR, "create", "-f", "-", given=anonymous(made, namespace))


async def refused(people: People, made: Json, *, namespace: str = "team") -> str:
    """Try to create the pod; the policy's words."""
    return await people.refused(EDITOR, "create", "-f", "-", given=anonymous(made, namespace))


async def post(people: People, made: Json, *, namespace: str = "team") -> Answer:
    """Try to create the pod; the API server's answer."""
    return await people.call(EDITOR, "POST", f"/api/v1/namespaces/{namespace}/pods", anonymous(made, namespace))


async def test_an_answer_cannot_be_faked_out_of_sight(people: People) -> None:
    """In a namespace that did not opt in; each name that the product calls a result."""
    for key in [*names.RESULT_ANNOTATIONS, *(f"{prefix}main" for prefix in names.RESULT_PREFIXES)]:
        answer = await post(people, pod({key: "x"}), namespace="elsewhere")
        assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, f"the policy vramshare-unseen does not know {key}"
        assert f"annotation {key} is written by vramshare only" in answer.body["message"]


async def test_opting_out_is_no_way_round(people: People) -> None:
    """A pod that the webhook is not shown carries no answer either; nor one in vramshare's own namespace."""
    made = pod({names.STATUS: names.STATUS_ALLOCATED})
    made["metadata"]["labels"] = {names.INJECT_LABEL: names.INJECT_DISABLED}
    await refused(people, made)
    await refused(people, pod({names.STATUS: names.STATUS_ALLOCATED}), namespace=names.DEFAULT_NAMESPACE)


async def test_our_gate_out_of_sight_would_stay_for_ever(people: People) -> None:
    """So a pod is told at once."""
    assert "for ever" in await refused(people, pod(schedulingGates=[{"name": names.GATE}]), namespace="elsewhere")


async def test_our_volumes_out_of_sight_are_refused(people: People) -> None:
    """Nodes' agents would look into them; others are free."""
    fixed = (names.VOLUME_LIBRARY, names.VOLUME_PRELOAD, names.VOLUME_REGION)
    for volume in (*fixed, names.allocation_volume("main")):
        answer = await post(people, pod(volumes=[{"name": volume, "emptyDir": {}}]), namespace="elsewhere")
        assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, volume
        assert "named like vramshare's own" in answer.body["message"]
    await create(people, pod(volumes=[{"name": "vramshare-notes", "emptyDir": {}}]), namespace="elsewhere")


async def test_pods_out_of_sight_are_otherwise_free(people: People) -> None:
    """Other gates, requests that mean nothing there, GPU resources of a device plugin."""
    resources = {"limits": {names.HAMI_GPU: "1"}}
    made = pod({names.MEMORY: "2Gi"}, container(resources=resources), schedulingGates=[{"name": "example.com/x"}])
    await create(people, made, namespace="elsewhere")


async def test_a_request_without_answer_is_refused(people: People) -> None:
    """The webhook's registration may have been deleted; each name that the product calls a request."""
    assert "has not answered it" in await refused(people, gpu_pod())
    for key in [*names.REQUEST_ANNOTATIONS, *(f"{prefix}main" for prefix in names.REQUEST_PREFIXES)]:
        answer = await post(people, pod({key: "1"}))
        assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, f"the policy vramshare-marked does not know {key}"
        assert "has not answered it" in answer.body["message"]


async def test_a_gpu_resource_left_over_is_refused(people: People) -> None:
    """A device plugin beside vramshare would hand out the whole GPU."""
    for resource in names.HAMI_RESOURCES:
        limits = {"limits": {resource: "1"}}
        for made in (pod(None, container(resources=limits)), pod(initContainers=[container("i", resources=limits)])):
            answer = await post(people, made)
            assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, resource


async def test_gpus_chosen_past_vramshare_are_refused(people: People) -> None:
    """By the runtime's own variable, as if the registration had been deleted; what hides GPUs stays free."""
    for value in ("all", "0"):
        made = pod(None, container(env=env(NVIDIA_VISIBLE_DEVICES=value)))
        assert "NVIDIA_VISIBLE_DEVICES" in await refused(people, made)
    for value in ("", "none", "void"):
        await create(people, pod(None, container(env=env(NVIDIA_VISIBLE_DEVICES=value))))


async def test_gpus_chosen_by_a_cdi_annotation_are_refused(people: People) -> None:
    """CRI-O hands a pod's annotations to NVIDIA's runtime, which adds the devices; other vendors' are free."""
    for made in (pod(), (await admit(gpu_pod())).pod):
        made["metadata"].setdefault("annotations", {})["cdi.k8s.io/mine"] = "nvidia.com/gpu=all"
        assert "annotation cdi.k8s.io/mine" in await refused(people, made)
    await create(people, pod({"cdi.k8s.io/mine": "example.com/net=0"}))
    await create(people, pod({"cdi.k8s.io/mine": "nvidia.com/gpu=all"}), namespace="elsewhere")


async def test_what_the_webhook_made_passes(people: People) -> None:
    """With a slice for an init container, too, and a sidecar without any."""
    both = {names.CONTAINERS: "init,main", names.MEMORY: "2Gi"}
    made = await admit(pod(both, container(), container("sidecar"), initContainers=[container("init")]))
    await create(people, made.pod)


async def test_a_queued_pod_without_its_gate_is_refused(people: People) -> None:
    """It would run without a grant."""
    made = (await admit(gpu_pod())).pod
    made["metadata"]["annotations"][names.STATUS] = names.STATUS_QUEUED
    assert "its scheduling gate" in await refused(people, made)


@pytest.mark.parametrize("lost", ["env", "void", "preload", "limits", "all"])
async def test_a_wall_that_was_taken_away_again_is_noticed(people: People, lost: str) -> None:
    """Another webhook after ours dropped the variable or a mount, or gave a container all GPUs."""
    made = (await admit(gpu_pod(container(), container("sidecar")))).pod
    main, sidecar = made["spec"]["containers"]
    if lost == "env":
        main["env"] = []
    elif lost == "void":
        sidecar["env"] = []
    elif lost == "all":
        sidecar["env"] = env(NVIDIA_VISIBLE_DEVICES="all")
    else:
        path = {"preload": names.PRELOAD_FILE, "limits": names.ALLOCATION_DIR}[lost]
        main["volumeMounts"] = [one for one in main["volumeMounts"] if one["mountPath"] != path]
    assert "lost vramshare's mounts" in await refused(people, made)


_HOST_ACCESS: list[tuple[Json, Json]] = [
    ({"hostPID": True}, {}),
    ({}, {"securityContext": {"privileged": True}}),
    ({}, {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}),
    # Container runtimes write names of capabilities in capitals themselves.
    ({}, {"securityContext": {"capabilities": {"add": ["sys_admin"]}}}),
    ({}, {"securityContext": {"capabilities": {"add": ["All"]}}}),
]


@pytest.mark.parametrize(("spec", "fields"), _HOST_ACCESS)
async def test_a_gpu_pod_with_the_hosts_powers_is_refused(people: People, spec: Json, fields: Json) -> None:
    """By default; elsewhere it is nobody's business of vramshare's."""
    made = await admit(gpu_pod(container(**fields), **spec))
    await refused(people, made.pod)
    await create(people, pod(None, container(**fields), **spec))


async def test_a_namespace_may_be_warned_or_trusted_instead(people: People) -> None:
    """By its label."""
    made = (await admit(gpu_pod(hostPID=True))).pod
    assert "Warning" in await create(people, made, namespace="lenient")
    assert "Warning" not in await create(people, made, namespace="trusted")
