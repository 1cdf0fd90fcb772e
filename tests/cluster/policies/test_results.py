"""What vramshare wrote into a pod, attacked by somebody who may edit pods in every way, while no webhook answers."""

import json
from http import HTTPStatus
from typing import Any

import pytest

from allocator.api import names
from allocator.api.errors import NoCapacityError
from tests.cluster.api import MERGE
from tests.cluster.policies.conftest import ALLOCATOR, EDITOR, KUBELET, SCHEDULER, People
from tests.unit.webhook.support import FakeAllocator, admit, gpu_pod

pytestmark = pytest.mark.asyncio(loop_scope="module")
Json = dict[str, Any]
PODS = "/api/v1/namespaces/team/pods"


async def granted(name: str) -> Json:
    """A pod as the webhook makes it where there is room."""
    return renamed((await admit(gpu_pod())).pod, name)


async def queued(name: str) -> Json:
    """A pod as the webhook makes it where there is none."""
    nothing = NoCapacityError("no GPU has 2Gi free", {})
    return renamed((await admit(gpu_pod(), allocator=FakeAllocator(failure=nothing))).pod, name)


def renamed(pod: Json, name: str) -> Json:
    """The pod under another name."""
    return {**pod, "metadata": {**pod["metadata"], "name": name}}


async def stored(people: People, pod: Json) -> Json:
    """The pod as it is kept, after it was created."""
    await people.must("admin", "create", "-f", "-", given=pod)
    found: Json = json.loads(
        await people.must("admin", "-n", "team", "get", "pod", pod["metadata"]["name"], "-o", "json")
    )
    return found


async def test_no_result_annotation_can_be_changed(people: People) -> None:
    """Each name that the product calls a result; one that a policy does not know is found here."""
    await stored(people, await granted("changed"))
    for key in [*names.RESULT_ANNOTATIONS, *(f"{prefix}main" for prefix in names.RESULT_PREFIXES)]:
        patch = {"metadata": {"annotations": {key: "mine"}}}
        answer = await people.call(EDITOR, "PATCH", f"{PODS}/changed", patch, content_type=MERGE)
        assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, f"the policy vramshare-results does not know {key}"
        assert f"annotation {key} is written by vramshare only" in answer.body["message"]


async def test_no_result_annotation_can_be_removed(people: People) -> None:
    """A pod without its answer would look like one that nobody granted anything."""
    await stored(people, await granted("removed"))
    await people.refused(EDITOR, "-n", "team", "annotate", "pod", "removed", f"{names.STATUS}-")


@pytest.mark.parametrize("namespace", ["team", "elsewhere"])
async def test_a_pod_without_answer_gets_none(people: People, namespace: str) -> None:
    """Neither in a namespace that the webhook sees nor in one that it does not."""
    await people.must("admin", "-n", namespace, "run", "plain", "--image=x")
    await people.refused(EDITOR, "-n", namespace, "annotate", "pod", "plain", "allocation.vramshare.io/plain=all")
    await people.must("admin", "-n", namespace, "delete", "pod", "plain", "--wait=false")


async def test_the_status_is_no_way_round(people: People) -> None:
    """An update of the status carries annotations too."""
    await stored(people, await granted("by-status"))
    patch = json.dumps({"metadata": {"annotations": {"allocation.vramshare.io/main": "GPU-0 memory=99999999999"}}})
    await people.refused(EDITOR, "-n", "team", "patch", "pod", "by-status", "--subresource=status", "-p", patch)


@pytest.mark.parametrize("path", ["pods/to-bind/binding", "bindings"])
@pytest.mark.parametrize("what", ["annotations", "labels"])
async def test_a_binding_is_no_way_round(people: People, path: str, what: str) -> None:
    """What a Binding carries is copied into the pod, by its new path and by its old one."""
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "to-bind", "namespace": "team", what: {"vramshare.io/status": "allocated"}},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-a"},
    }
    at = f"/api/v1/namespaces/team/{path}"
    await people.refused(EDITOR, "create", "--raw", at, "-f", "-", given=binding)


async def test_only_the_allocator_opens_the_gate(people: People) -> None:
    """Whoever may edit pods may remove gates, but for this one."""
    await stored(people, await queued("gated"))
    opened = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
    output = await people.refused(EDITOR, "-n", "team", "patch", "pod", "gated", "--type=json", "-p", opened)
    assert "opened by vramshare only" in output
    answer = [{"op": "remove", "path": "/spec/schedulingGates"}]
    answer += [{"op": "replace", "path": "/metadata/annotations/vramshare.io~1status", "value": "allocated"}]
    await people.must(ALLOCATOR, "-n", "team", "patch", "pod", "gated", "--type=json", "-p", json.dumps(answer))


async def test_a_pod_does_not_leave_later(people: People) -> None:
    """With the label, the webhook would not be shown the next update."""
    await stored(people, await granted("leaver"))
    await people.refused(EDITOR, "-n", "team", "label", "pod", "leaver", "vramshare.io/inject=disabled")


async def test_the_owner_still_edits_what_is_the_owners(people: People) -> None:
    """Labels, annotations of other tools, and the request: the size of a running slice is changed there."""
    await stored(people, await granted("owned"))
    await people.must(EDITOR, "-n", "team", "label", "pod", "owned", "team=blue")
    await people.must(EDITOR, "-n", "team", "annotate", "pod", "owned", "example.com/note=x")
    await people.must(EDITOR, "-n", "team", "annotate", "--overwrite", "pod", "owned", "vramshare.io/memory=3Gi")
    await people.must(EDITOR, "-n", "team", "delete", "pod", "owned", "--wait=false")


async def test_scheduler_and_kubelet_do_their_work(people: People) -> None:
    """A pod is bound, its status is written, and it ends."""
    await stored(people, await granted("worked"))
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "worked", "namespace": "team"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-a"},
    }
    await people.must(SCHEDULER, "create", "--raw", f"{PODS}/worked/binding", "-f", "-", given=binding)
    running = json.dumps({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    await people.must(KUBELET, "-n", "team", "patch", "pod", "worked", "--subresource=status", "-p", running)


async def test_a_replaced_object_keeps_its_answer(people: People) -> None:
    """`kubectl replace` with the object as it is passes, and without vramshare's annotations does not."""
    pod = await stored(people, await granted("replaced"))
    await people.must(EDITOR, "replace", "-f", "-", given=pod)
    kept = {key: value for key, value in pod["metadata"]["annotations"].items() if not names.is_result(key)}
    bare = {**pod, "metadata": {**pod["metadata"], "annotations": kept}}
    bare["metadata"].pop("resourceVersion")
    await people.refused(EDITOR, "replace", "-f", "-", given=bare)


async def test_a_container_added_later_sees_no_gpu(people: People) -> None:
    """Without the webhook to hide GPUs from it, `kubectl debug` on a GPU pod is refused."""
    pod = await stored(people, await granted("debugged"))

    def with_debugger(**fields: Any) -> Json:
        debugger = {"name": "debugger", "image": "x", "terminationMessagePolicy": "File", **fields}
        return {**pod, "spec": {**pod["spec"], "ephemeralContainers": [debugger]}}

    at = f"{PODS}/debugged/ephemeralcontainers"
    void = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
    region = [{"name": names.VOLUME_REGION, "mountPath": "/theirs"}]
    for attack in (with_debugger(), with_debugger(env=[*void, {**void[0], "value": "all"}])):
        assert "gets no GPU" in await people.refused(EDITOR, "replace", "--raw", at, "-f", "-", given=attack)
    mounting = with_debugger(env=void, volumeMounts=region)
    assert "may not mount" in await people.refused(EDITOR, "replace", "--raw", at, "-f", "-", given=mounting)
    await people.must(EDITOR, "replace", "--raw", at, "-f", "-", given=with_debugger(env=void))


@pytest.mark.parametrize("power", [{"privileged": True}, {"capabilities": {"add": ["SYS_ADMIN"]}}])
async def test_a_container_added_later_has_no_more_powers_than_a_first_one(people: People, power: Json) -> None:
    """`kubectl debug --profile=sysadmin` would see every GPU of the node; one without powers may follow."""
    name = f"powers-{next(iter(power))}"
    pod = await stored(people, await granted(name))
    void = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
    debugger = {"name": "debugger", "image": "x", "terminationMessagePolicy": "File", "env": void}

    def with_debugger(**fields: Any) -> Json:
        return {**pod, "spec": {**pod["spec"], "ephemeralContainers": [{**debugger, **fields}]}}

    at = f"{PODS}/{name}/ephemeralcontainers"
    attack = with_debugger(securityContext=power)
    assert "securityContext" in await people.refused(EDITOR, "replace", "--raw", at, "-f", "-", given=attack)
    await people.must(EDITOR, "replace", "--raw", at, "-f", "-", given=with_debugger())


async def test_gpus_are_not_chosen_by_a_cdi_annotation_later(people: People) -> None:
    """A queued pod's sandbox is made long after its creation, with the annotations that it then has."""
    await stored(people, await queued("chooser"))
    choice = ("annotate", "pod", "chooser", "cdi.k8s.io/mine=nvidia.com/gpu=all")
    assert "annotation cdi.k8s.io/mine" in await people.refused(EDITOR, "-n", "team", *choice)
    await people.must(EDITOR, "-n", "team", "annotate", "pod", "chooser", "cdi.k8s.io/mine=example.com/net=0")
