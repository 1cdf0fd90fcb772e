"""Objects of any kind: create, read, replace, patch, delete, and every way to be refused."""

import pytest

from tests.cluster.api import JSON_PATCH, MERGE, STRATEGIC, Api


async def test_create_gives_identity(api: Api, maps: str) -> None:
    """A created object has uid, version and time, and reads back the same."""
    made = await api.create(maps, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    assert made.status == 201
    assert made.body["metadata"].keys() >= {"uid", "resourceVersion", "creationTimestamp"}
    assert (await api.get(f"{maps}/a")).body == made.body


async def test_generated_names_differ(api: Api, maps: str) -> None:
    """GenerateName makes a new name each time."""
    body = {"metadata": {"generateName": "x-"}}
    names = [(await api.create(maps, body)).body["metadata"]["name"] for _ in range(2)]
    assert names[0] != names[1]
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


async def test_dry_run_stores_nothing(api: Api, maps: str) -> None:
    """A dry run answers as if, and keeps nothing."""
    tried = await api.create(f"{maps}?dryRun=All", {"metadata": {"name": "a"}})
    assert (tried.status, "resourceVersion" in tried.body["metadata"]) == (201, False)
    assert (await api.get(f"{maps}/a")).status == 404


async def test_replace_with_stale_version_conflicts(api: Api, maps: str) -> None:
    """A PUT with the version of an older read is 409, without one it wins."""
    first = (await api.create(maps, {"metadata": {"name": "a"}})).body
    await api.patch(f"{maps}/a", {"data": {"k": "1"}})
    stale = await api.replace(f"{maps}/a", first)
    assert (stale.status, stale.body["reason"]) == (409, "Conflict")
    assert (await api.replace(f"{maps}/a", {"metadata": {"name": "a"}})).status == 200


async def test_unchanged_write_keeps_version(api: Api, maps: str) -> None:
    """A patch that changes nothing makes no new version."""
    await api.create(maps, {"metadata": {"name": "a"}, "data": {"k": "1"}})
    before = (await api.get(f"{maps}/a")).body["metadata"]["resourceVersion"]
    after = await api.patch(f"{maps}/a", {"data": {"k": "1"}})
    assert after.body["metadata"]["resourceVersion"] == before


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        (MERGE, {"data": {"b": "2", "a": None}}),
        (STRATEGIC, {"data": {"b": "2", "a": None}}),
        (JSON_PATCH, [{"op": "add", "path": "/data/b", "value": "2"}, {"op": "remove", "path": "/data/a"}]),
    ],
)
async def test_patches(api: Api, maps: str, kind: str, patch: object) -> None:
    """All three sorts of patch set one key and remove another."""
    await api.create(maps, {"metadata": {"name": "m"}, "data": {"a": "1"}})
    assert (await api.patch(f"{maps}/m", patch, kind)).body["data"] == {"b": "2"}


async def test_json_patch_tests_version(api: Api, maps: str) -> None:
    """A JSON patch that carries an older resourceVersion is 409."""
    first = (await api.create(maps, {"metadata": {"name": "m"}, "data": {"a": "1"}})).body
    await api.patch(f"{maps}/m", {"data": {"a": "2"}})
    version = first["metadata"]["resourceVersion"]
    patch = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}]
    assert (
        await api.patch(f"{maps}/m", [*patch, {"op": "add", "path": "/data/b", "value": "x"}], JSON_PATCH)
    ).status == 409


async def test_unknown_field_warns_by_default(api: Api, pods: str) -> None:
    """Without strict validation an unknown field is dropped with a warning."""
    body = {"metadata": {"name": "w"}, "spec": {"containers": [{"name": "c", "image": "x", "bogus": 1}]}}
    made = await api.create(f"{pods}?dryRun=All", body)
    assert made.status == 201
    assert any("unknown field" in text and "spec.containers[0].bogus" in text for text in made.warnings)


async def test_wrong_type_is_bad_request(api: Api, maps: str) -> None:
    """A number where a string belongs is 400."""
    answer = await api.create(maps, {"metadata": {"name": "a"}, "data": {"k": 1}})
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_bad_label_is_invalid(api: Api, maps: str) -> None:
    """A label value with a space is 422 on metadata.labels."""
    answer = await api.create(maps, {"metadata": {"name": "a", "labels": {"k": "a b"}}})
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "metadata.labels")


async def test_namespace_must_match(api: Api, maps: str) -> None:
    """A body of another namespace than the path's is 400."""
    answer = await api.create(maps, {"metadata": {"name": "a", "namespace": "elsewhere"}})
    assert answer.status == 400
    assert "does not match the namespace" in answer.body["message"]


async def test_missing_namespace(api: Api) -> None:
    """Creating in a namespace that does not exist is 404 on the namespace."""
    answer = await api.create("/api/v1/namespaces/nowhere-at-all/configmaps", {"metadata": {"name": "a"}})
    assert (answer.status, answer.body["details"]["kind"]) == (404, "namespaces")


async def test_delete_answers_with_uid(api: Api, maps: str) -> None:
    """Deleting a config map answers Success with its uid, and again 404."""
    uid = (await api.create(maps, {"metadata": {"name": "a"}})).body["metadata"]["uid"]
    gone = await api.delete(f"{maps}/a")
    assert (gone.status, gone.body["status"], gone.body["details"]["uid"]) == (200, "Success", uid)
    assert (await api.delete(f"{maps}/a")).status == 404


async def test_delete_precondition(api: Api, maps: str) -> None:
    """A deletion with another object's uid is 409."""
    await api.create(maps, {"metadata": {"name": "a"}})
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "not-it"}}
    assert (await api.delete(f"{maps}/a", options)).status == 409


async def test_finalizer_holds_object(api: Api, maps: str) -> None:
    """A finalizer keeps a deleted object until it is taken off."""
    await api.create(maps, {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}})
    assert "deletionTimestamp" in (await api.delete(f"{maps}/a")).body["metadata"]
    assert (await api.get(f"{maps}/a")).status == 200
    await api.patch(f"{maps}/a", {"metadata": {"finalizers": None}})
    assert (await api.get(f"{maps}/a")).status == 404


async def test_immutable_config_map(api: Api, maps: str) -> None:
    """An immutable config map refuses new data."""
    await api.create(maps, {"metadata": {"name": "a"}, "data": {"k": "1"}, "immutable": True})
    answer = await api.patch(f"{maps}/a", {"data": {"k": "2"}})
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "data")


async def test_secret_strings_become_data(api: Api, namespace: str) -> None:
    """StringData is stored encoded, and is not read back."""
    made = await api.create(
        f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "v"}}
    )
    assert (made.body["data"], made.body["type"], "stringData" in made.body) == ({"k": "dg=="}, "Opaque", False)


async def test_events_in_both_groups(api: Api, namespace: str) -> None:
    """An event written in the core group reads as events.k8s.io, field names changed."""
    body = {
        "metadata": {"name": "e"}, "reason": "R", "message": "hello", "type": "Normal", "source": {"component": "me"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
    }  # fmt: skip
    assert (await api.create(f"/api/v1/namespaces/{namespace}/events", body)).status == 201
    seen = (await api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e")).body
    assert (seen["note"], seen["regarding"]["name"], seen["apiVersion"]) == ("hello", "p", "events.k8s.io/v1")


async def test_scale_subresource(api: Api, namespace: str) -> None:
    """Scaling a deployment changes its replicas and its generation."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert (await api.create(path, {"metadata": {"name": "d"}, "spec": spec})).status == 201
    scale = await api.patch(f"{path}/d/scale", {"spec": {"replicas": 3}})
    assert (scale.body["kind"], scale.body["spec"], scale.body["status"]["selector"]) == (
        "Scale",
        {"replicas": 3},
        "a=b",
    )
    deployment = (await api.get(f"{path}/d")).body
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (3, 2)


async def test_selector_must_match_template(api: Api, namespace: str) -> None:
    """A deployment whose selector does not select its template is 422."""
    template = {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    answer = await api.create(
        f"/apis/apps/v1/namespaces/{namespace}/deployments", {"metadata": {"name": "d"}, "spec": spec}
    )
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "spec.template.metadata.labels")


async def test_lease_needs_version(api: Api, namespace: str) -> None:
    """A lease cannot be replaced without its resourceVersion."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    await api.create(path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    answer = await api.replace(f"{path}/l", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}})
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "metadata.resourceVersion")


async def test_no_such_resource(api: Api) -> None:
    """A path that nobody serves is 404."""
    assert (await api.get("/apis/example.com/v1/things")).status == 404


async def test_status_of_main_door_is_kept(api: Api, pods: str) -> None:
    """A patch of the object cannot change its status, one of the status cannot change its spec."""
    await api.create(pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    main = await api.patch(f"{pods}/p", {"status": {"phase": "Running"}})
    assert main.body["status"]["phase"] == "Pending"
    status = await api.patch(f"{pods}/p/status", {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}})
    assert (status.body["status"]["phase"], status.body["spec"].get("nodeName")) == ("Running", None)


async def test_token_of_service_account(api: Api, namespace: str) -> None:
    """A requested token authenticates as the service account."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = (await api.create(path, {"spec": {}})).body["status"]["token"]
    review = await api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    assert review.body["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:default"


async def test_namespace_deletion_waits(api: Api) -> None:
    """A deleted namespace terminates, takes nothing new, and ends when finalized."""
    name = (await api.create("/api/v1/namespaces", {"metadata": {"generateName": "dying-"}})).body["metadata"]["name"]
    path = f"/api/v1/namespaces/{name}"
    assert (await api.delete(path)).body["status"]["phase"] == "Terminating"
    refused = await api.create(f"{path}/configmaps", {"metadata": {"name": "a"}})
    assert refused.status in {403, 404}  # a controller may have been fast
    current = await api.get(path)
    if current.status == 200:
        current.body["spec"]["finalizers"] = []
        await api.replace(f"{path}/finalize", current.body)
    assert (await api.get(path)).status == 404


async def test_default_namespace_stays(api: Api) -> None:
    """The default namespace cannot be deleted."""
    assert (await api.delete("/api/v1/namespaces/default")).status == 403
