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


def test_the_webhook_fails_closed_for_opted_in_namespaces(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Who is asked, and what happens when nobody answers."""
    (hook,) = base["MutatingWebhookConfiguration", "vramshare"]["webhooks"]
    assert hook["failurePolicy"] == "Fail"
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
    asked = {
        (operation, resource)
        for rule in hook["rules"]
        for operation in rule["operations"]
        for resource in rule["resources"]
    }
    assert asked == {("CREATE", "pods"), ("UPDATE", "pods"), ("UPDATE", "pods/ephemeralcontainers")}


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
    hook = base["MutatingWebhookConfiguration", "vramshare"]["webhooks"][0]["clientConfig"]["service"]
    assert ("Service", hook["name"]) in base


def test_the_agent_installs_where_the_webhook_mounts_from(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """One host folder, mounted in the agent at the host's own path."""
    spec = base["DaemonSet", "vramshare-agent"]["spec"]["template"]["spec"]
    assert f"--host-dir={names.DEFAULT_HOST_DIR}" in spec["containers"][0]["args"]
    mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    paths = {one["name"]: one["hostPath"]["path"] for one in spec["volumes"]}
    assert mounts["host-dir"] == paths["host-dir"] == names.DEFAULT_HOST_DIR
