"""Sets the stage: a cluster (our own or a given one), vramshare installed in it, webhook and agents as processes."""

import base64
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from demo_nodes import REAL, SIMULATED, DemoNode, Hollow, write_cluster, write_descriptions
from demo_processes import Processes
from demo_show import DemoError, Show, environment

ROOT: Final = Path(__file__).resolve().parents[1]
VRAMSHARE: Final = Path(sys.executable).with_name("vramshare")
INTERPOSER: Final = ROOT / "native" / "build" / "libvramshare.so"
SYSTEM: Final = "vramshare-system"
_START: Final = 60.0


@dataclass(frozen=True)
class Stage:
    """What the story plays on.

    Attributes:
        show: how it speaks.
        folder: the demo's files.
        kubeconfig: of the cluster.
        nodes: its GPU nodes.
        kubelets: whether containers run on them.
        processes: what was started.
    """

    show: Show
    folder: Path
    kubeconfig: Path
    nodes: tuple[DemoNode, ...]
    kubelets: bool
    processes: Processes

    def host_root(self, node: DemoNode) -> Path:
        """Where a node's file system is seen from here."""
        return self.folder / "cluster" / "nodes" / node.name / "root"


@contextmanager
def set_up(folder: Path, *, given: Path | None) -> Iterator[Stage]:
    """Everything running, and all of it stopped afterwards.

    Args:
        folder: for the demo's files; may hold an earlier run's.
        given: kubeconfig of a control plane to use; None: start the embedded cluster.
    """
    nodes = SIMULATED if given or not real_gpu() else (*SIMULATED, REAL)
    descriptions = write_descriptions(folder / "gpus")
    kubeconfig = given.resolve() if given else folder / "cluster" / "kubeconfig"
    show = Show(environment=environment(kubeconfig))
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(folder=folder / "logs", environment=show.environment))
        stage = Stage(show, folder, kubeconfig, nodes, kubelets=given is None, processes=processes)
        if given:
            stack.enter_context(Hollow(show, nodes, folder))
        else:
            _start_cluster(stage, descriptions)
        _install(stage, descriptions)
        if given:
            stack.callback(_uninstall, stage)
        yield stage


def real_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with a driver that works."""
    import pynvml  # noqa: PLC0415 - asked once

    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


def _start_cluster(stage: Stage, descriptions: dict[str, Path]) -> None:
    show = stage.show
    nodes_file = stage.folder / "nodes.yaml"
    write_cluster(nodes_file, stage.nodes, descriptions)
    show.title("A cluster")
    show.say("An embedded one: API server, scheduler, controllers, and a kubelet per node that runs containers as")
    show.say("processes of this machine. kubectl is the real one.")
    cluster = stage.folder / "cluster"
    stage.kubeconfig.unlink(missing_ok=True)  # of an earlier run
    argv: list[object] = [sys.executable, "-m", "devcluster", "up", "--dir", cluster, "--nodes", nodes_file]
    stage.processes.start("cluster", argv, PYTHONPATH=str(ROOT / "scripts"))
    count = len(stage.nodes)

    def ready() -> bool:
        stage.processes.check()
        if not stage.kubeconfig.exists():
            return False
        items = (show.ask("kubectl get nodes") or {}).get("items", [])
        return len(items) == count and all(_is_ready(node) for node in items)

    show.until("the embedded cluster's nodes are ready", ready, seconds=_START)
    show.run("kubectl get nodes")


def _install(stage: Stage, descriptions: dict[str, Path]) -> None:
    show = stage.show
    show.title("vramshare")
    show.say("Webhook and agents run as processes here, so the cluster gets everything else: namespace, accounts,")
    show.say("roles, and the webhook's registration under a loopback address.")
    port = _free_port()
    ca = _start_webhook(stage, port)
    overlay = _write_overlay(stage.folder, port=port, ca=ca)
    show.run(f"kubectl apply -k {overlay}")
    for node in stage.nodes:
        _start_agent(stage, node, descriptions)
    kinds = "configmaps -l vramshare.io/kind=inventory"
    wanted = len(stage.nodes)

    def published() -> bool:
        stage.processes.check()
        found = show.ask(f"kubectl -n {SYSTEM} get {kinds}")
        return found is not None and len(found["items"]) == wanted

    show.until("every agent has published its node's GPUs", published, seconds=_START)
    show.until("the webhook is ready", lambda: stage.processes.check() and _ready(port), seconds=_START)
    show.run(f"kubectl -n {SYSTEM} get {kinds}")
    show.run(f"kubectl -n {SYSTEM} describe configmap vramshare-inventory-{stage.nodes[0].name}")


def _uninstall(stage: Stage) -> None:
    """Take everything away again from a control plane that is not ours."""
    overlay = os.path.relpath(stage.folder / "install")
    stage.show.text(f"kubectl delete -k {overlay} --wait=false")


def _start_webhook(stage: Stage, port: int) -> Path:
    """Start it; the path of its CA."""
    certificates = stage.folder / "certificates"
    argv: list[object] = [VRAMSHARE, "webhook", "--kubeconfig", stage.kubeconfig, "--certificates", certificates]
    argv += ["--host", "127.0.0.1", "--port", port, "--metrics-host", "127.0.0.1", "--metrics-port", 0, "--drain", 0]
    stage.processes.start("webhook", argv)
    ca = certificates / "ca.crt"
    stage.show.until("the webhook has a certificate", lambda: stage.processes.check() and ca.exists(), seconds=_START)
    return ca


def _start_agent(stage: Stage, node: DemoNode, descriptions: dict[str, Path]) -> None:
    argv: list[object] = [VRAMSHARE, "agent", "--node", node.name, "--kubeconfig", stage.kubeconfig]
    argv += ["--interposer", INTERPOSER]
    argv += ["--host-dir", stage.host_root(node) / "var/lib/vramshare", "--strategy", "env"]
    if not node.real:
        argv += ["--simulate", descriptions[node.name]]
    stage.processes.start(f"agent-{node.name}", argv)


def _write_overlay(folder: Path, *, port: int, ca: Path) -> Path:
    """A kustomization that registers the webhook by URL; its path, relative for the eye."""
    overlay = folder / "install"
    overlay.mkdir(parents=True, exist_ok=True)
    client = {
        "url": f"https://127.0.0.1:{port}/mutate",
        "caBundle": base64.b64encode(ca.read_bytes()).decode(),
    }
    patch = [{"op": "replace", "path": "/webhooks/0/clientConfig", "value": client}]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "manifests" / "overlays" / "local", overlay)],
        "patches": [{"target": {"kind": "MutatingWebhookConfiguration"}, "patch": yaml.safe_dump(patch)}],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization, sort_keys=False))
    return Path(os.path.relpath(overlay))


def _ready(port: int) -> bool:
    """Whether the webhook says that it is ready. Its certificate is the API server's business."""
    import ssl  # noqa: PLC0415 - one use

    context = ssl._create_unverified_context()  # noqa: SLF001, S323 - loopback, and only a yes or no
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"https://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(node: dict[str, object]) -> bool:
    status = node.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


__all__ = ["SYSTEM", "DemoError", "Stage", "set_up"]
