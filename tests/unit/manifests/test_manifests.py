"""The manifests, as kubectl renders them: valid for every supported Kubernetes, and true to the programs they start."""

import argparse
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from devcluster.apiserver.expressions import evaluate

from allocator.api import names

ROOT = Path(__file__).parents[3] / "manifests"
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]


def rendered(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    kubectl = Path(sys.executable).with_name("kubectl")
    ended = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True)  # noqa: S603 - ours
    return list(yaml.safe_load_all(ended.stdout))


@pytest.fixture(scope="module")
def base() -> dict[tuple[str, str], dict[str, Any]]:
    """The base by kind and name."""
    return {(one["kind"], one["metadata"]["name"]): one for one in rendered(ROOT)}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", ["", "overlays/local"])
def test_every_object_is_valid(folder: str, version: str) -> None:
    """Against the published schemas, unknown fields refused."""
    for one in rendered(ROOT / folder):
        kubernetes_validate.validate(one, version, strict=True)


def test_the_local_overlay_starts_no_pods(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """All but what would need images."""
    local = {(one["kind"], one["metadata"]["name"]) for one in rendered(ROOT / "overlays" / "local")}
    left_out = {kind for kind, _ in base.keys() - local}
    assert left_out == {"Deployment", "DaemonSet", "Service"}
    assert local <= base.keys()


def test_gpu_pods_fail_closed_and_the_rest_goes_on(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """What happens to whom when nobody answers."""
    hooks = base["MutatingWebhookConfiguration", "vramshare"]["webhooks"]
    asked = {
        (hook["failurePolicy"], operation, resource)
        for hook in hooks
        for rule in hook["rules"]
        for operation in rule["operations"]
        for resource in rule["resources"]
    }
    assert asked == {
        ("Fail", "CREATE", "pods"),
        ("Ignore", "CREATE", "pods"),
        ("Ignore", "UPDATE", "pods"),
        ("Ignore", "UPDATE", "pods/ephemeralcontainers"),
    }


def test_every_webhook_is_registered_for_opted_in_namespaces(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """With the labels that the product defines, and as a webhook that writes grants has to be."""
    for hook in base["MutatingWebhookConfiguration", "vramshare"]["webhooks"]:
        assert hook["sideEffects"] == "NoneOnDryRun"
        assert hook["reinvocationPolicy"] == "IfNeeded"
        assert hook["matchPolicy"] == "Equivalent"
        assert hook["timeoutSeconds"] == 5
        assert hook["namespaceSelector"]["matchLabels"] == {names.INJECT_LABEL: names.INJECT_ENABLED}
        kept_out = hook["namespaceSelector"]["matchExpressions"][0]
        assert set(kept_out["values"]) == {"kube-system", names.DEFAULT_NAMESPACE}
        assert hook["objectSelector"]["matchExpressions"] == [
            {"key": names.INJECT_LABEL, "operator": "NotIn", "values": [names.INJECT_DISABLED]}
        ]


def _pod(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "x", **spec.pop("container", {})}
    return {
        "metadata": {"annotations": annotations} if annotations else {},
        "spec": {"containers": [container], **spec},
    }


_WITH_GPU: dict[str, dict[str, Any]] = {
    "annotation": _pod({names.MEMORY: "2Gi"}),
    "one container's annotation": _pod({names.memory_annotation("c"): "2Gi"}),
    "a brought answer": _pod({names.allocation_annotation("c"): "GPU-0"}),
    "limits": _pod(container={"resources": {"limits": {names.HAMI_GPU: "1"}}}),
    "requests": _pod(container={"resources": {"requests": {names.HAMI_MEMORY: "1"}}}),
    "init container": _pod(
        initContainers=[{"name": "i", "image": "x", "resources": {"limits": {names.HAMI_CORES: "1"}}}]
    ),
    "gate": _pod(schedulingGates=[{"name": names.GATE}]),
    "volume": _pod(volumes=[{"name": names.VOLUME_REGION, "emptyDir": {}}]),
    "visible devices": _pod(container={"env": [{"name": names.ENV_VISIBLE, "value": "all"}]}),
    "visible devices from elsewhere": _pod(container={"env": [{"name": names.ENV_VISIBLE, "valueFrom": {}}]}),
}
_WITHOUT: dict[str, dict[str, Any]] = {
    "plain": _pod(),
    "others' annotations": _pod({"example.com/vramshare.io": "x"}),
    "others' gates and volumes": _pod(schedulingGates=[{"name": "example.com/x"}], volumes=[{"name": "data"}]),
    "cpu": _pod(container={"resources": {"limits": {"cpu": "1"}}}),
    "void already": _pod(container={"env": [{"name": names.ENV_VISIBLE, "value": names.VISIBLE_NONE}]}),
}


@pytest.mark.parametrize(
    ("pod", "gpu"), [(pod, True) for pod in _WITH_GPU.values()] + [(pod, False) for pod in _WITHOUT.values()]
)
def test_each_new_pod_concerns_one_webhook(
    pod: dict[str, Any],
    gpu: bool,  # noqa: FBT001 - a parameter of the test
    base: dict[tuple[str, str], dict[str, Any]],
) -> None:
    """The one that fails closed where GPUs are concerned, and else the other, never both."""
    hooks = base["MutatingWebhookConfiguration", "vramshare"]["webhooks"]
    concerned = [
        hook["failurePolicy"]
        for hook in hooks
        if hook["rules"][0]["operations"] == ["CREATE"]
        and all(evaluate(one["expression"], {"object": pod}) for one in hook["matchConditions"])
    ]
    assert concerned == (["Fail"] if gpu else ["Ignore"])


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "vramshare-webhook"), ("DaemonSet", "vramshare-agent")])
def test_the_programs_take_the_arguments_they_are_given(
    kind: str, name: str, base: dict[tuple[str, str], dict[str, Any]]
) -> None:
    """A renamed option is found here, not by a crash loop."""
    (container,) = base[kind, name]["spec"]["template"]["spec"]["containers"]
    subcommand, *arguments = container["args"]
    (entry,) = entry_points(group="vramshare.commands", name=subcommand)
    parser = argparse.ArgumentParser(exit_on_error=False)
    entry.load().add_arguments(parser)
    parser.parse_args(arguments)


def test_selectors_and_references_meet(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Service, workloads, accounts and bindings name each other rightly."""
    webhook = base["Deployment", "vramshare-webhook"]["spec"]["template"]
    service = base["Service", "vramshare-webhook"]["spec"]["selector"]
    assert service.items() <= webhook["metadata"]["labels"].items()
    for (kind, _), one in base.items():
        if kind in {"RoleBinding", "ClusterRoleBinding"}:
            reference = one["roleRef"]
            assert (reference["kind"], reference["name"]) in base
            for subject in one["subjects"]:
                assert (subject["kind"], subject["name"]) in base
                assert subject["namespace"] == names.DEFAULT_NAMESPACE
        if kind in {"Deployment", "DaemonSet"}:
            assert ("ServiceAccount", one["spec"]["template"]["spec"]["serviceAccountName"]) in base
    for hook in base["MutatingWebhookConfiguration", "vramshare"]["webhooks"]:
        assert ("Service", hook["clientConfig"]["service"]["name"]) in base


def test_the_agent_installs_where_the_webhook_mounts_from(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """One host folder, mounted in the agent at the host's own path."""
    spec = base["DaemonSet", "vramshare-agent"]["spec"]["template"]["spec"]
    assert f"--host-dir={names.DEFAULT_HOST_DIR}" in spec["containers"][0]["args"]
    mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    paths = {one["name"]: one["hostPath"]["path"] for one in spec["volumes"]}
    assert mounts["host-dir"] == paths["host-dir"] == names.DEFAULT_HOST_DIR
