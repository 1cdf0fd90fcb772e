"""The manifests, as kubectl renders them: valid for every supported Kubernetes, and true to the programs they start."""

import argparse
import json
import shutil
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
FOLDERS = [ROOT, *sorted(one for one in (ROOT / "overlays").iterdir() if one.is_dir())]
FOREIGN = {"cert-manager.io", "monitoring.coreos.com"}


def rendered(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    kubectl = Path(sys.executable).with_name("kubectl")
    ended = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True)  # noqa: S603 - ours
    return list(yaml.safe_load_all(ended.stdout))


@pytest.fixture(scope="module")
def base() -> dict[tuple[str, str], dict[str, Any]]:
    """The base by kind and name."""
    return {(one["kind"], one["metadata"]["name"]): one for one in rendered(ROOT)}


@pytest.fixture(scope="module")
def everything() -> list[dict[str, Any]]:
    """Every object of base, overlays and examples, each once."""
    found = {json.dumps(one, sort_keys=True): one for folder in FOLDERS for one in rendered(folder)}
    for file in (ROOT / "examples").glob("*.yaml"):
        found |= {json.dumps(one, sort_keys=True): one for one in yaml.safe_load_all(file.read_text())}
    return list(found.values())


def test_every_overlay_is_documented() -> None:
    """In the README, by its name."""
    readme = (ROOT / "README.md").read_text()
    assert not [folder.name for folder in FOLDERS if folder != ROOT and f"`overlays/{folder.name}`" not in readme]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str, everything: list[dict[str, Any]]) -> None:
    """Against the published schemas, unknown fields refused. Objects of other projects' kinds have none there."""
    for one in everything:
        if one["apiVersion"].partition("/")[0] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


def test_another_namespace_is_named_everywhere(tmp_path: Path) -> None:
    """Where kustomize's own `namespace:` leaves the former name, the replacements of the manifests put the new one."""
    shutil.copytree(ROOT, tmp_path / "manifests")
    wanted = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "gpu-sharing",
        "resources": ["manifests"],
        "replacements": [{"path": "manifests/own-namespace.yaml"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    here = json.dumps(by_name(rendered(tmp_path)))
    assert names.DEFAULT_NAMESPACE not in here
    usual = json.dumps(by_name(rendered(ROOT)))
    assert here.replace("gpu-sharing", names.DEFAULT_NAMESPACE) == usual


def by_name(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In one order. kustomize puts policies, which have none, into a namespace; the API server takes it off again."""
    for one in objects:
        if one["kind"].startswith("ValidatingAdmissionPolicy"):
            one["metadata"].pop("namespace", None)
    return sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))


def test_cert_manager_takes_the_webhooks_rights_away() -> None:
    """What it does for the webhook, the webhook need not be allowed to do."""
    made = rendered(ROOT / "overlays" / "cert-manager")
    rules = [rule for one in made if one["kind"].endswith("Role") for rule in one["rules"]]
    assert not [rule for rule in rules if {"secrets", "mutatingwebhookconfigurations"} & set(rule["resources"])]
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert not [word for word in container["args"] if word.startswith("--certificate-secret")]


@pytest.mark.parametrize("overlay", ["microk8s", "k3s", "gpu-operator"])
def test_the_runtime_class_is_the_agents_and_the_pods(overlay: str) -> None:
    """Both need it where the driver is reached no other way."""
    made = {one["kind"]: one for one in rendered(ROOT / "overlays" / overlay)}
    assert made["DaemonSet"]["spec"]["template"]["spec"]["runtimeClassName"] == "nvidia"
    (webhook,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "VRAMSHARE_WEBHOOK_RUNTIME_CLASS", "value": "nvidia"} in webhook["env"]


@pytest.mark.parametrize("overlay", ["microk8s", "gpu-operator", "openshift"])
def test_agents_stay_where_the_operator_has_found_a_gpu(overlay: str) -> None:
    """On other nodes there is no NVIDIA runtime, and agents that cannot start stop the rollout of an upgrade."""
    made = {one["kind"]: one for one in rendered(ROOT / "overlays" / overlay)}
    assert made["DaemonSet"]["spec"]["template"]["spec"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}


def test_replicas_stand_on_different_nodes() -> None:
    """With high availability they must; one at a time may be drained anywhere."""
    made = rendered(ROOT / "overlays" / "high-availability")
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] >= 3
    affinity = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    # Kubernetes 1.30 drops matchLabelKeys: without a spare node, a rollout must take a replica away first.
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 1
    (budget,) = (one for one in made if one["kind"] == "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


def test_the_webhook_has_no_powers(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """It needs none: no root, no capability, nothing writable."""
    spec = base["Deployment", "vramshare-webhook"]["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostPID", "hostNetwork", "hostIPC"} & spec.keys()


def test_the_agent_has_the_powers_it_needs_and_no_more(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Two capabilities and the host's processes, each with a comment why; and it is not privileged."""
    spec = base["DaemonSet", "vramshare-agent"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["DAC_READ_SEARCH", "SYS_PTRACE"]}
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
    assert "privileged" not in context
    # Or AppArmor would hide the memory maps of processes under other profiles from it.
    assert context["appArmorProfile"] == {"type": "Unconfined"}
    writable = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
    assert names.DEFAULT_HOST_DIR in writable
    assert "/host" not in writable


def test_one_image_serves_the_agent_and_pods_under_pod_security(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The webhook is told the agent's image; a private registry's name has to be written in both places."""
    (agent,) = base["DaemonSet", "vramshare-agent"]["spec"]["template"]["spec"]["containers"]
    (webhook,) = base["Deployment", "vramshare-webhook"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "VRAMSHARE_WEBHOOK_INTERPOSER_IMAGE", "value": agent["image"]} in webhook["env"]


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


def test_the_agent_sees_what_is_mounted_later(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """On its folder as well as on the host's: containers get their mounts from there as they are then."""
    pod = base["DaemonSet", "vramshare-agent"]["spec"]["template"]["spec"]
    mounts = pod["containers"][0]["volumeMounts"]
    assert {one.get("mountPropagation") for one in mounts} == {"HostToContainer"}


def test_the_agent_installs_where_the_webhook_mounts_from(base: dict[tuple[str, str], dict[str, Any]]) -> None:
    """One host folder, mounted in the agent at the host's own path."""
    spec = base["DaemonSet", "vramshare-agent"]["spec"]["template"]["spec"]
    assert f"--host-dir={names.DEFAULT_HOST_DIR}" in spec["containers"][0]["args"]
    mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    paths = {one["name"]: one["hostPath"]["path"] for one in spec["volumes"]}
    assert mounts["host-dir"] == paths["host-dir"] == names.DEFAULT_HOST_DIR
