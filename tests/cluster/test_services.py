"""Webhooks behind a service, audit records, quotas: what needs a second object beside the pod."""

import json
import ssl
from datetime import UTC, datetime
from pathlib import Path

from devcluster.apiserver import ApiServer
from devcluster.apiserver.pki import make_certificates

from tests.cluster.api import Api
from tests.cluster.webhook import Hook

POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}


async def test_webhook_behind_external_name(api: Api, namespace: str, pods: str, tmp_path: Path) -> None:
    """A service that is an alias of localhost reaches a webhook there, by the certificate of the service's name."""
    name = f"hook.{namespace}.svc"
    async with Hook(tmp_path / "hook", hosts=(name,)) as hook:
        spec = {"type": "ExternalName", "externalName": "localhost"}
        await api.create(f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": "hook"}, "spec": spec})
        port = int(hook.url.rstrip("/").rsplit(":", 1)[1])
        service = {"namespace": namespace, "name": "hook", "port": port, "path": "/mutate"}
        path = await hook.register(api, namespace, clientConfig={"service": service, "caBundle": hook.bundle})
        answer = await hook.asked_for(api, pods, POD)
        await api.delete(path)
    assert (answer.status, hook.asked[-1]["name"]) == (201, "p")


async def test_audit_annotations_are_logged(embedded: ApiServer, tmp_path: Path) -> None:
    """What a webhook notes stands in the audit log, under the webhook's name, with the round it was called in."""
    context = ssl.create_default_context(cafile=embedded.ca)
    async with (
        Api(embedded.url, token=embedded.token, context=context) as api,
        Hook(tmp_path / "hook", lambda _request: {"allowed": True, "auditAnnotations": {"gpu": "GPU-1"}}) as hook,
    ):
        await hook.register(api, "default")
        assert (await api.create("/api/v1/namespaces/default/pods", POD)).status == 201
    lines = [json.loads(line) for line in (embedded.folder / "audit.log").read_text().splitlines()]
    record = next(line for line in lines if line["objectRef"]["resource"] == "pods")
    assert record["annotations"]["a.conformance.example.com/gpu"] == "GPU-1"
    noted = json.loads(record["annotations"]["mutation.webhook.admission.k8s.io/round_0_index_0"])
    assert noted == {"configuration": "a-default", "webhook": "a.conformance.example.com", "mutated": False}


async def test_quota_refuses_what_exceeds_it(embedded: ApiServer) -> None:
    """A quota counts what exists; of limits it knows CPU and memory only."""
    context = ssl.create_default_context(cafile=embedded.ca)
    async with Api(embedded.url, token=embedded.token, context=context) as api:
        space = "/api/v1/namespaces/default"
        hard = {"pods": "1", "limits.nvidia.com/gpumem": "10"}
        await api.create(f"{space}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        assert (await api.create(f"{space}/pods", POD)).status == 201
        refused = await api.create(f"{space}/pods", {**POD, "metadata": {"name": "two"}})
        used = (await api.get(f"{space}/resourcequotas/q")).body["status"]["used"]
        await api.delete(f"{space}/pods/p")
        assert (await api.create(f"{space}/pods", {**POD, "metadata": {"name": "two"}})).status == 201
    wanted = 'pods "two" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    assert (refused.status, refused.body["message"], used) == (403, wanted, {"pods": "1"})


async def test_baseline_refuses_host_paths(embedded: ApiServer) -> None:
    """Pod Security baseline refuses hostPath volumes, also ones that a webhook added."""
    context = ssl.create_default_context(cafile=embedded.ca)
    async with Api(embedded.url, token=embedded.token, context=context) as api:
        labels = {"pod-security.kubernetes.io/enforce": "baseline"}
        await api.patch("/api/v1/namespaces/default", {"metadata": {"labels": labels}})
        volume = {"name": "v", "hostPath": {"path": "/x"}}
        body = {**POD, "spec": {**POD["spec"], "volumes": [volume]}}
        answer = await api.create("/api/v1/namespaces/default/pods", body)
    assert answer.status == 403
    assert 'violates PodSecurity "baseline:latest": hostPath volumes (volume "v")' in answer.body["message"]


async def test_restricted_says_all_that_is_missing(embedded: ApiServer) -> None:
    """In the real server's words; a pod that has all of it passes, with an image volume too."""
    context = ssl.create_default_context(cafile=embedded.ca)
    container = {**POD["spec"]["containers"][0]}
    container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    volumes = [{"name": "v", "image": {"reference": "x:1"}}]
    good = {"containers": [container], "volumes": volumes, "securityContext": {"runAsNonRoot": True}}
    async with Api(embedded.url, token=embedded.token, context=context) as api:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        await api.patch("/api/v1/namespaces/default", {"metadata": {"labels": labels}})
        refused = await api.create("/api/v1/namespaces/default/pods", POD)
        made = await api.create("/api/v1/namespaces/default/pods", {**POD, "spec": {**POD["spec"], **good}})
    name = container["name"]
    assert refused.body["message"].endswith(
        'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        f'(container "{name}" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities '
        f'(container "{name}" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true '
        f'(pod or container "{name}" must set securityContext.runAsNonRoot=true), seccompProfile '
        f'(pod or container "{name}" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )
    assert made.status == 201, made.body


def test_certificates_carry_their_hosts(tmp_path: Path) -> None:
    """Names and addresses of a certificate are those asked for."""
    files = make_certificates(tmp_path, ["a.b.svc", "127.0.0.1"], now=datetime.now(UTC))
    decoded = ssl._ssl._test_decode_cert(str(files.certificate))  # type: ignore[attr-defined]
    assert decoded["subjectAltName"] == (("DNS", "a.b.svc"), ("IP Address", "127.0.0.1"))
