"""An embedded cluster without vramshare, whose nodes can run its pods: they know the images' entry points and files."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from demo_install import INTERPOSER, INTERPOSER_IMAGE, VRAMSHARE
from demo_nodes import SIMULATED, write_cluster, write_descriptions
from demo_processes import Processes
from demo_show import Show, environment
from demo_stage import ROOT

from allocator.api import names

NODE: Final = SIMULATED[0]
_START: Final = 60.0


@dataclass(frozen=True)
class Bare:
    """The cluster.

    Attributes:
        show: runs commands in it.
        folder: its files.
    """

    show: Show
    folder: Path

    def manifests(self, folder: Path) -> None:
        """The repository's manifests as `folder`, fit for one machine.

        Pods share the machine's ports here, so there is one webhook; and the machine's own interpreter, which may be
        in a home that nobody else can enter, stands in for the image's. All else is as it is.
        """
        user = [{"op": "replace", "path": "/spec/template/spec/securityContext/runAsUser", "value": os.getuid()}]
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(ROOT / "manifests", folder.resolve())],
            "replicas": [{"name": "vramshare-webhook", "count": 1}],
            "patches": [{"target": {"kind": "Deployment"}, "patch": json.dumps(user)}],
        }
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        (folder / "examples").symlink_to(ROOT / "manifests" / "examples")

    def ready(self) -> bool:
        """Whether the webhook answers. On a real cluster probes tell; the embedded kubelet has none."""
        asked = "run probe --image=x --annotations=vramshare.io/memory=1Gi --dry-run=server -o name"
        found = self.show.text("kubectl get namespace probe -o name") or self.show.text(
            "kubectl create namespace probe -o name"
        )
        label = self.show.text(f"kubectl label --overwrite namespace probe {names.INJECT_LABEL}=enabled")
        return bool(found and label and self.show.text(f"kubectl -n probe {asked}"))


@contextmanager
def bare(folder: Path) -> Iterator[Bare]:
    """One node with a simulated GPU, roles enforced, nothing installed."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    cluster, nodes = folder / "cluster", folder / "nodes.yaml"
    write_cluster(nodes, (NODE,), write_descriptions(folder / "gpus"))
    _images(cluster / "nodes" / NODE.name / "images")
    show = Show(environment=environment(cluster / "kubeconfig"))
    (folder / "logs").mkdir()
    argv = [sys.executable, "-m", "devcluster", "up", "--dir", cluster, "--nodes", nodes, "--rbac"]
    try:
        with Processes(folder=folder / "logs", environment=show.environment) as processes:
            processes.start("cluster", argv, PYTHONPATH=str(ROOT / "scripts"))
            show.until(
                "its node is ready",
                lambda: processes.check() and "Ready" in show.text("kubectl get nodes --no-headers").split(),
                seconds=_START,
            )
            yield Bare(show=show, folder=folder)
    finally:
        os.environ["PATH"] = before


def _images(folder: Path) -> None:
    agent = INTERPOSER_IMAGE.replace(":", "_")
    library = folder / agent / names.IMAGE_LIBRARY_DIR
    library.mkdir(parents=True)
    for name in ("libvramshare.so", Path(names.DELIVERED_LIBRARY).name):
        shutil.copy(INTERPOSER, library / name)
    for image in (agent, agent.replace("agent", "webhook")):
        (folder / f"{image}.json").write_text(json.dumps({"config": {"Entrypoint": [str(VRAMSHARE)]}}))
