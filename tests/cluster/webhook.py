"""A webhook on loopback that keeps what it is asked and answers what it is told."""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from devcluster.apiserver.pki import make_certificates

from tests.cluster.api import Answer, Api

Json = dict[str, Any]
Decide = Callable[[Json], Json]
PATHS = {"MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
         "ValidatingWebhookConfiguration": "validatingwebhookconfigurations"}  # fmt: skip
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def allow(_request: Json) -> Json:
    """Let it through."""
    return {"allowed": True}


def patching(*operations: Json) -> Decide:
    """Let it through, changed."""
    patch = base64.b64encode(json.dumps(list(operations)).encode()).decode()
    return lambda _request: {"allowed": True, "patchType": "JSONPatch", "patch": patch}


@dataclass
class Hook:
    """The server. `decide` maps the request of a review to a response (uid is added)."""

    folder: Path
    decide: Decide = allow
    hosts: tuple[str, ...] = ()
    asked: list[Json] = field(default_factory=list)
    url: str = ""
    bundle: str = ""

    async def __aenter__(self) -> Self:
        files = make_certificates(self.folder, ["127.0.0.1", "localhost", *self.hosts], now=datetime.now(UTC))
        self.bundle = base64.b64encode(files.ca.read_bytes()).decode()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.certificate, files.key)
        application = web.Application(client_max_size=8 * 1024 * 1024)
        application.router.add_post("/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.asked.append(review["request"])
        response = {"uid": review["request"]["uid"], **self.decide(review["request"])}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    async def asked_for(self, api: Api, pods: str, body: Json) -> Answer:
        """Create the pod once the server knows the webhook: real servers take a moment."""
        for _ in range(50):
            answer = await api.create(f"{pods}?dryRun=All", {**body, "metadata": {"generateName": "probe-"}})
            if self.asked or answer.status >= 400:
                break
            await asyncio.sleep(0.1)
        self.asked.clear()
        return await api.create(pods, body)

    async def register(
        self, api: Api, namespace: str, *, name: str = "a", kind: str = "MutatingWebhookConfiguration", **rest: Any
    ) -> str:
        """Register it for pods of the namespace; the path of the configuration."""
        webhook = {
            "name": f"{name}.conformance.example.com",
            "clientConfig": {"url": self.url, "caBundle": self.bundle},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **rest,
        }
        path = f"{ADMISSION}/{PATHS[kind]}"
        made = await api.create(path, {"metadata": {"name": f"{name}-{namespace}"}, "webhooks": [webhook]})
        assert made.status == 201, made.body
        return f"{path}/{name}-{namespace}"
