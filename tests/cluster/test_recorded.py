"""The recorded exchanges of a real kube-apiserver, asked of the embedded one: same status, reason, message, shape."""

import copy
import json
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
from devcluster.apiserver import ApiServer

from tests.cluster.api import STRATEGIC, Answer, Api

Json = dict[str, Any]
NODES = ("gpu-node-1", "gpu-node-2")
POD = "/api/v1/namespaces/team-a/pods"
# In the order in which they were recorded. `+x` prepares state that another component made then.
JOURNEY = (
    "create-named", "create-exists", "create-invalid", "create-unknown-field-strict", "create-dry-run",
    "+unschedulable", "get-pod", "create-generate-name", "+bind-burst", "update-immutable",
    "update-env-immutable", "annotate-merge", "json-patch-test-fails", "gated-create", "gate-add-later",
    "gate-remove-and-pin", "+bind-gated", "bound-pod", "bind-again", "delete-bound-graceful", "delete-forced",
    "get-missing", "list-bad-field-selector", "list-bad-label-selector", "list-chunk", "list-table",
    "nodes-table", "not-acceptable", "unsupported-media", "unauthenticated", "configmap-create", "configmap-put",
    "configmap-put-stale", "configmap-patch-stale", "configmap-apply", "configmap-apply-conflict",
    "configmap-too-big", "lease-create", "lease-put-stale",
)  # fmt: skip
EXCHANGES = tuple(name for name in JOURNEY if not name.startswith("+"))
UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "lastProbeTime": None, "reason": "Unschedulable",
    "observedGeneration": 1,
}  # fmt: skip


def recorded(folder: Path, name: str) -> Json:
    """One recording."""
    loaded: Json = json.loads((folder / "kube-apiserver-1.36" / f"exchange-{name}.json").read_text())
    return loaded


class Journey:
    """The recorded session, repeated step by step."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api, self.folder = api, folder
        self.answers: dict[str, Answer] = {}
        self.stale = ""

    async def run(self) -> None:
        """Every step."""
        await self.api.create("/api/v1/namespaces", {"metadata": {"name": "team-a"}})
        for name in NODES:
            labels = {"kubernetes.io/hostname": name}
            await self.api.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
            ready = {"type": "Ready", "status": "True", "reason": "Fake", "message": "fake"}
            await self.api.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [ready]}}, STRATEGIC)
        for step in JOURNEY:
            if step.startswith("+"):
                await self._prepare(step)
            else:
                self.answers[step] = await self._ask(step)

    async def _prepare(self, step: str) -> None:
        if step == "+unschedulable":
            condition = dict(recorded(self.folder, "get-pod")["response"]["status"]["conditions"][0])
            path = f"{POD}/hami-syntax/status?fieldManager=kube-scheduler"
            assert (await self.api.patch(path, {"status": {"conditions": [condition]}}, STRATEGIC)).status == 200
            return
        name, node = ("gated", NODES[0]) if step == "+bind-gated" else (self.burst, NODES[1])
        body = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        assert (await self.api.create(f"{POD}/{name}/binding", body)).status == 201

    @property
    def burst(self) -> str:
        """The generated name."""
        name: str = self.answers["create-generate-name"].body["metadata"]["name"]
        return name

    async def _ask(self, step: str) -> Answer:
        if step == "unauthenticated":
            async with Api(self.api.url, token="nobody", context=self.api.context) as stranger:
                return await stranger.get(POD)
        if step == "configmap-too-big":
            body = {"metadata": {"name": "big"}, "data": {"a": "x" * (1024 * 1024 + 1)}}
            return await self.api.create("/api/v1/namespaces/team-a/configmaps", body)
        request = recorded(self.folder, step)["request"]
        body = copy.deepcopy(request["body"])
        if step == "configmap-put":
            self.stale = self.answers["configmap-create"].body["metadata"]["resourceVersion"]
        if step.startswith(("configmap-put", "configmap-patch")):
            body["metadata"]["resourceVersion"] = self.stale
        return await self.api.call(
            request["method"], request["path"], body,
            accept=request["accept"], content_type=request["contentType"] or "application/json",
        )  # fmt: skip


@pytest.fixture
async def journey(embedded: ApiServer, shared_data: Path) -> Journey:
    """The whole session."""
    context = ssl.create_default_context(cafile=embedded.ca)
    async with Api(embedded.url, token=embedded.token, context=context) as api:
        done = Journey(api, shared_data)
        await done.run()
        return done


_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
_UID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def plain(value: Any, key: str = "") -> Any:
    """What two runs must have in common: no uids, times, versions, random names, nor the recorder's extra volume."""
    if isinstance(value, dict):
        return {name: plain(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item, key) for item in value if "openshift" not in json.dumps(item) or key != "sources"]
    if not isinstance(value, str):
        return value
    if key in {"resourceVersion", "continue"} or _TIME.match(value) or _UID.match(value):
        return f"<{key or 'value'}>"
    value = re.sub(r"kube-api-access-\w{5}", "kube-api-access", value)
    value = re.sub(r"burst-\w{5}", "burst", value)
    value = re.sub(r"^\d+s$", "<age>", value)
    return value.split("\n@@", 1)[0]  # the difference is printed from internal types


def comparable(name: str, body: Any) -> Any:
    """The part of an answer that the recording speaks about."""
    seen = plain(body)
    if name == "nodes-table":  # labels and owners came from kubectl and a controller
        for row in seen["rows"]:
            row["object"]["metadata"] = {"name": row["object"]["metadata"]["name"]}
    return seen


@pytest.mark.parametrize("name", EXCHANGES)
async def test_answers_as_recorded(name: str, journey: Journey) -> None:
    """The embedded server answers this exchange as the real one did."""
    wanted, got = recorded(journey.folder, name), journey.answers[name]
    assert got.status == wanted["status"]
    assert comparable(name, got.body) == comparable(name, wanted["response"])
