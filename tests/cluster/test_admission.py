"""Admission webhooks over TLS: what they are asked, and what their answers do."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import Api
from tests.cluster.webhook import ADMISSION, Hook, patching

Json = dict[str, Any]
VALIDATING = "ValidatingWebhookConfiguration"
POD: Json = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
ANNOTATE = {"op": "add", "path": "/metadata/annotations", "value": {"seen": "yes"}}


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Hook]:
    """A webhook that allows everything."""
    async with Hook(tmp_path / "hook") as server:
        yield server


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Hook]:
    """Another one."""
    async with Hook(tmp_path / "other") as server:
        yield server


async def test_patch_is_applied(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """A JSON patch of a mutating webhook ends up in the stored pod."""
    hook.decide = patching(ANNOTATE)
    path = await hook.register(api, namespace)
    made = await hook.asked_for(api, pods, POD)
    await api.delete(path)
    assert made.body["metadata"]["annotations"] == {"seen": "yes"}


async def test_patched_object_gets_defaults(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """What a webhook adds gets defaults too."""
    sidecar = {"op": "add", "path": "/spec/containers/-", "value": {"name": "s", "image": "y:1"}}
    hook.decide = patching(sidecar)
    path = await hook.register(api, namespace)
    made = await hook.asked_for(api, pods, POD)
    await api.delete(path)
    container = made.body["spec"]["containers"][1]
    assert (container["imagePullPolicy"], container["terminationMessagePolicy"]) == ("IfNotPresent", "File")
    assert [mount["mountPath"] for mount in container.get("volumeMounts", ())] in (
        [], ["/var/run/secrets/kubernetes.io/serviceaccount"],
    )  # fmt: skip


async def test_denial_is_passed_on(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """A denial's code, reason and message reach the user, with the webhook's name in front."""
    status = {"code": 422, "reason": "Invalid", "message": "write 2048Mi"}
    hook.decide = lambda _request: {"allowed": False, "status": status}
    path = await hook.register(api, namespace)
    answer = await hook.asked_for(api, pods, POD)
    await api.delete(path)
    wanted = 'admission webhook "a.conformance.example.com" denied the request: write 2048Mi'
    assert (answer.status, answer.body["reason"], answer.body["message"]) == (422, "Invalid", wanted)


async def test_denial_without_words(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """A denial without a status says so."""
    hook.decide = lambda _request: {"allowed": False}
    path = await hook.register(api, namespace)
    answer = await hook.asked_for(api, pods, POD)
    await api.delete(path)
    assert answer.body["message"].endswith("denied the request without explanation")


@pytest.mark.parametrize(("policy", "status"), [("Fail", 500), ("Ignore", 201)])
async def test_unreachable(api: Api, namespace: str, pods: str, hook: Hook, policy: str, status: int) -> None:
    """An unreachable webhook fails the request, or is passed over, as its policy says."""
    live = await hook.register(api, namespace, name="live")
    await hook.register(api, namespace, name="dead", failurePolicy=policy,
                        clientConfig={"url": "https://127.0.0.1:1/", "caBundle": hook.bundle})  # fmt: skip
    answer = await hook.asked_for(api, pods, POD)
    await api.delete(live)
    await api.delete(live.replace("/live-", "/dead-"))
    assert answer.status == status, answer.body
    if status == 500:
        assert answer.body["reason"] == "InternalError"
        assert answer.body["message"] == (
            'Internal error occurred: failed calling webhook "dead.conformance.example.com": failed to call webhook: '
            'Post "https://127.0.0.1:1/?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused'
        )


async def test_wrong_authority_is_not_trusted(api: Api, namespace: str, pods: str, hook: Hook, other: Hook) -> None:
    """A webhook whose certificate the bundle does not sign is not asked."""
    path = await hook.register(api, namespace, clientConfig={"url": hook.url, "caBundle": other.bundle})
    live = await other.register(api, namespace, name="live")
    answer = await other.asked_for(api, pods, POD)
    await api.delete(path)
    await api.delete(live)
    assert (answer.status, hook.asked) == (500, [])


async def test_warnings_and_dry_run(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """Warnings come back as headers; a dry run says so in the review."""
    hook.decide = lambda _request: {"allowed": True, "warnings": ["mind the gap", 'the "wide" … one']}
    path = await hook.register(api, namespace)
    made = await hook.asked_for(api, pods, POD)
    await api.create(f"{pods}?dryRun=All", {**POD, "metadata": {"name": "d"}})
    await api.delete(path)
    assert [request["dryRun"] for request in hook.asked] == [False, True]
    assert any("mind the gap" in text for text in made.warnings)
    assert r'299 - "the \"wide\" … one"' in made.warnings


async def test_selectors(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """An object selector decides which pods a webhook is asked about."""
    path = await hook.register(api, namespace, objectSelector={"matchLabels": {"ask": "yes"}})
    labelled = {**POD, "metadata": {"name": "yes", "labels": {"ask": "yes"}}}
    for _ in range(50):
        await api.create(f"{pods}?dryRun=All", labelled)
        if hook.asked:
            break
        await asyncio.sleep(0.1)
    hook.asked.clear()
    await api.create(pods, POD)
    await api.create(pods, labelled)
    await api.delete(path)
    assert [request["name"] for request in hook.asked] == ["yes"]


async def test_reinvocation(api: Api, namespace: str, pods: str, hook: Hook, other: Hook) -> None:
    """A webhook with IfNeeded is asked again, under a new uid, when a later one changed the object."""
    first = await hook.register(api, namespace, name="a", reinvocationPolicy="IfNeeded")
    other.decide = patching(ANNOTATE)
    second = await other.register(api, namespace, name="b")
    await other.asked_for(api, pods, POD)
    await api.delete(first)
    await api.delete(second)
    asked = hook.asked[-2:]
    assert [request["object"]["metadata"].get("annotations") for request in asked] == [None, {"seen": "yes"}]
    assert asked[0]["uid"] != asked[1]["uid"]
    assert len(other.asked) == 1


async def test_stripped_resource_comes_back(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """LimitRanger re-adds a default that a webhook stripped, and the webhook is asked again."""
    rule = {"type": "Container", "default": {"nvidia.com/gpu": "1"}}
    await api.create(
        f"/api/v1/namespaces/{namespace}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [rule]}}
    )
    hook.decide = patching({"op": "replace", "path": "/spec/containers/0/resources", "value": {}})
    path = await hook.register(api, namespace, reinvocationPolicy="IfNeeded")
    made = await hook.asked_for(api, pods, POD)
    await api.delete(path)
    limits = [request["object"]["spec"]["containers"][0]["resources"].get("limits") for request in hook.asked]
    assert limits == [{"nvidia.com/gpu": "1"}] * 2
    assert made.body["spec"]["containers"][0]["resources"] == {}


async def test_validating_sees_the_result(api: Api, namespace: str, pods: str, hook: Hook, other: Hook) -> None:
    """A validating webhook sees the mutated object, with name and uid, also of a generated one."""
    hook.decide = patching(ANNOTATE)
    first = await hook.register(api, namespace)
    second = await other.register(api, namespace, kind=VALIDATING, name="v")
    made = await other.asked_for(api, pods, {**POD, "metadata": {"generateName": "g-"}})
    await api.delete(first)
    await api.delete(second)
    seen = other.asked[-1]
    assert seen["name"] == made.body["metadata"]["name"]
    assert (seen["object"]["metadata"]["uid"], seen["object"]["metadata"]["annotations"]) == (
        made.body["metadata"]["uid"], {"seen": "yes"},
    )  # fmt: skip
    assert "name" not in hook.asked[-1]
    assert "uid" not in hook.asked[-1]["object"]["metadata"]


async def test_update_and_delete_reviews(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """Updates come with both objects, deletions with the old one only."""
    rule = {"operations": ["UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    path = await hook.register(api, namespace, kind=VALIDATING, rules=[rule])
    await api.create(pods, POD)
    for number in range(50):
        await api.patch(f"{pods}/p", {"metadata": {"labels": {"n": str(number)}}})
        if hook.asked:
            break
        await asyncio.sleep(0.1)
    await api.delete(f"{pods}/p")
    await api.delete(path)
    update, delete = hook.asked[0], hook.asked[-1]
    assert (update["operation"], bool(update["object"]), bool(update["oldObject"])) == ("UPDATE", True, True)
    assert (delete["operation"], delete["object"], bool(delete["oldObject"])) == ("DELETE", None, True)


async def test_binding_review(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """A rule on pods/binding is asked about bindings, by kind Binding and subresource."""
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/binding"]}
    path = await hook.register(api, namespace, kind=VALIDATING, rules=[rule])
    hook.decide = lambda _request: {"allowed": False}
    await api.create(pods, POD)
    body = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "nowhere"}}
    for _ in range(50):
        answer = await api.create(f"{pods}/p/binding?dryRun=All", body)
        if hook.asked:
            break
        await asyncio.sleep(0.1)
    await api.delete(path)
    assert answer.status >= 400
    assert (hook.asked[0]["kind"]["kind"], hook.asked[0]["subResource"]) == ("Binding", "binding")


async def test_bad_configurations_are_refused(api: Api) -> None:
    """A webhook needs side effects of a harmless sort, and an https URL."""
    webhook = {
        "name": "a.b.c", "clientConfig": {"url": "http://127.0.0.1/"}, "sideEffects": "Unknown",
        "admissionReviewVersions": ["v1"],
    }  # fmt: skip
    answer = await api.create(
        f"{ADMISSION}/mutatingwebhookconfigurations", {"metadata": {"name": "bad"}, "webhooks": [webhook]}
    )
    fields = {cause["field"] for cause in answer.body["details"]["causes"]}
    assert (answer.status, fields) == (422, {"webhooks[0].sideEffects", "webhooks[0].clientConfig.url"})


def shape(value: Any, *, at: str = "") -> Any:
    """The keys of an object, down to those that hold user data."""
    if isinstance(value, dict) and at not in {"annotations", "labels", "fieldsV1", "extra"}:
        return {key: shape(item, at=key) for key, item in sorted(value.items())}
    if isinstance(value, list) and at != "groups":
        return [shape(item) for item in value if at != "sources" or "openshift" not in json.dumps(item)]
    return type(value).__name__


@pytest.mark.parametrize(
    ("name", "query", "position"),
    [
        ("review-00-create-named-false-false-admin-token", "", 0),
        ("review-01-create-named-false-true-admin-token", "", 1),
        ("review-03-create-named-true-false-admin-token", "?dryRun=All", 0),
        ("review-04-create-named-true-true-admin-token", "?dryRun=All", 1),
        ("review-06-create-named-false-false-admin-token-gates", "", 0),
        ("review-07-create-named-false-true-admin-token-gates", "", 1),
        ("review-02-create-generated-false-false-admin-token", "", 0),
    ],
)
async def test_reviews_as_recorded(
    name: str, query: str, position: int, api: Api, namespace: str, pods: str, hook: Hook, shared_data: Path
) -> None:
    """A pod's reviews, mutating first, validating second, have exactly the recorded fields."""
    wanted = json.loads((shared_data / "kube-apiserver-1.36" / f"{name}.json").read_text())["request"]
    exchange = {"hami-syntax": "create-named", "dry": "create-dry-run", "gated": "gated-create"}.get(
        wanted.get("name", ""), "create-generate-name"
    )
    body = json.loads((shared_data / "kube-apiserver-1.36" / f"exchange-{exchange}.json").read_text())["request"][
        "body"
    ]
    paths = [
        await hook.register(api, namespace, name=kind[0].lower(), kind=kind)
        for kind in ("MutatingWebhookConfiguration", VALIDATING)
    ]
    await hook.asked_for(api, pods, POD)
    hook.asked.clear()
    answer = await api.create(f"{pods}{query}", body)
    assert answer.status == 201, answer.body
    for path in paths:
        await api.delete(path)
    assert shape(hook.asked[position]) == shape(wanted)


POLICY: Json = {
    "failurePolicy": "Fail",
    "matchConstraints": {
        "resourceRules": [
            {"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "pods/status"]}
        ]
    },
    "matchConditions": [{"name": "others", "expression": "request.userInfo.username != 'system:friend'"}],
    "variables": [
        {
            "name": "before",
            "expression": "has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {}",
        },
        {"name": "after", "expression": "has(object.metadata.annotations) ? object.metadata.annotations : {}"},
    ],
    "validations": [
        {
            "expression": "variables.before.all(k, !k.startsWith('mine/') || "
            "(k in variables.after && variables.after[k] == variables.before[k]))",
            "messageExpression": "'hands off, ' + request.operation",
        }
    ],
}


@pytest.fixture
async def policy(api: Api, namespace: str) -> AsyncIterator[str]:
    """A policy that guards annotations `mine/...`, bound to the namespace."""
    name = f"guard-{namespace}"
    made = await api.create(f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": name}, "spec": POLICY})
    assert made.status == 201, made.body
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    spec = {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector}}
    bindings = f"{ADMISSION}/validatingadmissionpolicybindings"
    bound = await api.create(bindings, {"metadata": {"name": name}, "spec": spec})
    assert bound.status == 201, bound.body
    yield name
    await api.delete(f"{bindings}/{name}")
    await api.delete(f"{ADMISSION}/validatingadmissionpolicies/{name}")


@pytest.mark.parametrize("door", ["", "/status"])
async def test_policy_guards_annotations(api: Api, pods: str, policy: str, door: str) -> None:
    """A policy on UPDATE refuses changes of guarded annotations through either door, and lets others pass."""
    guarded = {**POD, "metadata": {"name": "p", "annotations": {"mine/x": "1", "note": "a"}}}
    await api.create(pods, guarded)
    change = {"metadata": {"annotations": {"mine/x": "2"}}}
    for _ in range(50):
        answer = await api.patch(f"{pods}/p{door}?dryRun=All", change)
        if answer.status != 200:
            break
        await asyncio.sleep(0.1)
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    wanted = f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: hands off, UPDATE"
    assert answer.body["message"] == f'pods "p" is forbidden: {wanted}'
    fine = await api.patch(f"{pods}/p{door}", {"metadata": {"annotations": {"note": "b"}}})
    assert fine.status == 200, fine.body


async def test_policy_must_compile(api: Api) -> None:
    """A policy whose expression does not compile is refused, not ignored."""
    spec = {**POLICY, "validations": [{"expression": "object.metadata.("}]}
    answer = await api.create(
        f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": "broken"}, "spec": spec}
    )
    assert answer.status == 422
    assert "spec.validations[0].expression" in [cause["field"] for cause in answer.body["details"]["causes"]]


async def test_match_conditions(api: Api, namespace: str, pods: str, hook: Hook) -> None:
    """A webhook is asked only about what its match conditions want."""
    condition = {"name": "wanted", "expression": "object.metadata.name == 'yes'"}
    path = await hook.register(api, namespace, matchConditions=[condition])
    wanted = {**POD, "metadata": {"name": "yes"}}
    for _ in range(50):
        await api.create(f"{pods}?dryRun=All", wanted)
        if hook.asked:
            break
        await asyncio.sleep(0.1)
    hook.asked.clear()
    await api.create(pods, POD)
    await api.create(pods, wanted)
    await api.delete(path)
    assert [request["name"] for request in hook.asked] == ["yes"]
