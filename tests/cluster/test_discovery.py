"""Discovery and OpenAPI: what is served is described as a real server describes it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import Api

Json = dict[str, Any]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def recorded(folder: Path, name: str) -> Json:
    """A recorded document."""
    loaded: Json = json.loads((folder / "kube-apiserver-1.36" / f"{name}.json").read_text())
    return loaded


@pytest.mark.parametrize(("path", "name"), [("/api/v1", "api-v1"), ("/apis/apps/v1", "apis-apps-v1")])
async def test_resources_as_recorded(api: Api, shared_data: Path, path: str, name: str) -> None:
    """Every resource that is served stands in the list exactly as recorded."""
    wanted = {row["name"]: row for row in recorded(shared_data, name)["resources"]}
    rows = (await api.get(path)).body["resources"]
    assert len(rows) >= 9
    for row in rows:
        assert row == wanted[row["name"]]


async def test_groups_as_recorded(api: Api, shared_data: Path) -> None:
    """Every group that is served has the recorded versions."""
    wanted = {group["name"]: group for group in recorded(shared_data, "apis")["groups"]}
    body = (await api.get("/apis")).body
    assert body["kind"] == "APIGroupList"
    for group in body["groups"]:
        assert group == wanted[group["name"]]


async def test_aggregated_discovery(api: Api, shared_data: Path) -> None:
    """The aggregated form has the same rows for the core group."""
    answer = await api.get("/api", accept=AGGREGATED)
    assert answer.headers["Content-Type"] == AGGREGATED
    wanted = {
        row["resource"]: row for row in recorded(shared_data, "api-aggregated")["items"][0]["versions"][0]["resources"]
    }
    rows = {row["resource"]: row for row in answer.body["items"][0]["versions"][0]["resources"]}
    for name, row in rows.items():
        subs = {sub["subresource"]: sub for sub in wanted[name].pop("subresources", ())}
        for sub in row.pop("subresources", ()):
            assert sub == subs[sub["subresource"]]
        assert row == wanted[name]


async def test_version(api: Api) -> None:
    """The version is one that the project supports."""
    body = (await api.get("/version")).body
    assert (body["major"], int(body["minor"].rstrip("+")) >= 30) == ("1", True)


async def test_health_needs_no_token(api: Api) -> None:
    """Probes work without a token; the API does not."""
    async with Api(api.url, token="", context=api.context) as stranger:
        assert [(await stranger.get(path)).body for path in ("/readyz", "/healthz", "/livez")] == ["ok"] * 3
        assert (await stranger.get("/api/v1/pods")).status in {401, 403}


async def test_openapi_knows_field_validation(api: Api) -> None:
    """Each group's document says that the server validates fields, and of which kind a path is."""
    index = (await api.get("/openapi/v3")).body["paths"]
    document = (await api.get(index["apis/apps/v1"]["serverRelativeURL"])).body
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {"fieldValidation", "dryRun"} <= {parameter["name"] for parameter in patch["parameters"]}
    names = {name.rsplit(".", 1)[-1] for name in document["components"]["schemas"]}
    assert {"Deployment", "DeploymentList", "PodSpec", "Container"} <= names
