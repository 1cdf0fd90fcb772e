"""Installs vramshare as a developer does: manifests into the cluster, webhook and agents as local processes.

Each process has the service account and so the rights that it would have in the cluster.
"""

import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Final

import yaml
from demo_processes import Processes
from demo_show import Show

from allocator.api.names import CERTIFICATE_SECRET, REGISTRATION

ROOT: Final = Path(__file__).resolve().parents[1]
VRAMSHARE: Final = Path(sys.executable).with_name("vramshare")
INTERPOSER: Final = ROOT / "native" / "build" / "libvramshare.so"
SYSTEM: Final = "vramshare-system"
TEAM: Final = "team"
"""The namespace of the demo's users."""
WEBHOOK, AGENT = "vramshare-webhook", "vramshare-agent"
INTERPOSER_IMAGE: Final = "vramshare-agent:0.1.0"
"""From where pods under Pod Security get the interposer, where a node has that image."""
_START: Final = 60.0


@dataclass(frozen=True)
class AgentPlan:
    """An agent to start.

    Attributes:
        host_root: where its node's file system is seen.
        description: of its simulated GPUs; None: it asks NVML.
        environment: in which it finds an NVML that is not the machine's.
    """

    host_root: Path
    description: Path | None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What to install.

    Attributes:
        show: how the demo speaks.
        folder: for files.
        processes: where to start.
        agents: by node.
    """

    show: Show
    folder: Path
    processes: Processes
    agents: Mapping[str, AgentPlan]


def install(plan: Plan) -> None:
    """Apply, start, and wait until grants are possible."""
    show = plan.show
    show.title("vramshare")
    show.say("Webhook and agents run as processes here, each with the service account that it has in a cluster. The")
    show.say("cluster gets everything else: namespace, accounts, roles, and the registration of the webhook by URL.")
    port = _free_port()
    overlay = _write_overlay(plan, port=port)
    show.run(f"kubectl apply -k {quote(str(overlay))}")
    _start_webhook(plan, port)
    for node, agent in plan.agents.items():
        _start_agent(plan, node, agent, _kubeconfig(plan, AGENT, node=node))
    kinds = "configmaps -l vramshare.io/kind=inventory"

    def published() -> bool:
        plan.processes.check()
        found = show.ask(f"kubectl -n {SYSTEM} get {kinds}")
        return found is not None and len(found["items"]) == len(plan.agents)

    show.until("every agent has published its node's GPUs", published, seconds=_START)
    show.until("the webhook is ready", lambda: plan.processes.check() and _ready(port), seconds=_START)
    show.until("its registration names its CA", lambda: _trusted(show), seconds=_START)
    show.run(f"kubectl -n {SYSTEM} get {kinds}")
    show.run(f"kubectl -n {SYSTEM} describe configmap vramshare-inventory-{next(iter(plan.agents))}")


def uninstall(plan: Plan) -> None:
    """Take everything away again from a control plane that is not ours."""
    plan.show.text(f"kubectl -n {TEAM} delete deployments --all")
    # No kubelet will ever confirm the end of these pods.
    plan.show.text(f"kubectl -n {TEAM} delete pods --all --force --grace-period=0")
    plan.show.text(f"kubectl delete namespace {TEAM} --wait=false")
    overlay = os.path.relpath(plan.folder / "install")
    plan.show.text(f"kubectl delete -k {quote(overlay)} --wait=false")


def _start_webhook(plan: Plan, port: int) -> None:
    argv: list[object] = [VRAMSHARE, "webhook", "--kubeconfig", _kubeconfig(plan, WEBHOOK)]
    argv += ["--own-user", f"system:serviceaccount:{SYSTEM}:{WEBHOOK}"]
    argv += ["--certificate-secret", CERTIFICATE_SECRET, "--names", "127.0.0.1"]
    argv += ["--interposer-image", INTERPOSER_IMAGE]
    argv += ["--host", "127.0.0.1", "--port", port, "--metrics-host", "127.0.0.1", "--metrics-port", 0, "--drain", 0]
    plan.processes.start("webhook", argv)


def _start_agent(plan: Plan, node: str, agent: AgentPlan, kubeconfig: Path) -> None:
    argv: list[object] = [VRAMSHARE, "agent", "--node", node, "--kubeconfig", kubeconfig, "--interposer", INTERPOSER]
    argv += ["--host-root", agent.host_root, "--host-dir", agent.host_root / "var/lib/vramshare", "--strategy", "env"]
    argv += ["--metrics-host", "127.0.0.1", "--metrics-port", 0]
    if agent.description:
        argv += ["--simulate", agent.description]
    plan.processes.start(f"agent-{node}", argv, **agent.environment)


def _kubeconfig(plan: Plan, account: str, *, node: str = "") -> Path:
    """The demo's kubeconfig with a service account in the administrator's place; on a node, as a pod there has it."""
    bound = f" --bound-object-kind Node --bound-object-name {node}" if node else ""
    token = plan.show.text(f"kubectl -n {SYSTEM} create token {account} --duration=24h{bound}").strip()
    config = json.loads(plan.show.text("kubectl config view --raw --minify --flatten -o json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    file = plan.folder / f"{account}{node and f'-{node}'}.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return file


def _write_overlay(plan: Plan, *, port: int) -> Path:
    """A kustomization that registers the webhook by URL; its path, relative for the eye.

    The webhook itself writes the CA into its registration.
    """
    overlay = plan.folder / "install"
    overlay.mkdir(parents=True, exist_ok=True)
    local = ROOT / "manifests" / "overlays" / "local"
    objects = list(yaml.safe_load_all(plan.show.text(f"kubectl kustomize {quote(str(local))}")))
    (registration,) = (one for one in objects if one["kind"] == "MutatingWebhookConfiguration")
    client = {"url": f"https://127.0.0.1:{port}/mutate"}
    patch = [
        {"op": "replace", "path": f"/webhooks/{at}/clientConfig", "value": client}
        for at in range(len(registration["webhooks"]))
    ]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(local, overlay)],
        "patches": [{"target": {"kind": "MutatingWebhookConfiguration"}, "patch": yaml.safe_dump(patch)}],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization, sort_keys=False))
    return Path(os.path.relpath(overlay))


def _ready(port: int) -> bool:
    """Whether the webhook says that it is ready. Whether its certificate is good is the API server's business."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"https://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # URLError and HTTPError are among them
        return False


def _trusted(show: Show) -> bool:
    found = show.ask(f"kubectl get mutatingwebhookconfiguration {REGISTRATION}")
    return all(one["clientConfig"].get("caBundle") for one in found["webhooks"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
