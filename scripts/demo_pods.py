"""The demo's workers, and what the cluster says of their pods."""

import re
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

import yaml
from demo_install import SYSTEM, TEAM
from demo_nodes import REAL, SIMULATED
from demo_show import DemoError
from demo_stage import Stage

from allocator.api import names
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory

FILES: Final = Path("scripts/demo.d")
MIB: Final = 1024**2
_CONTEXT: Final = 400
"""MiB that a context takes, on GPUs for which it matters."""
_APPEAR: Final = 30.0
RUN: Final = 60.0
"""Seconds that a pod may take to run and speak."""
_CONTROLLERS: Final = 10.0
"""Seconds after which a given control plane has no controllers."""
_PROGRESS: Final = re.compile(r"products (\d+) of .*memory used (\d+) MiB of (\d+) MiB")


@dataclass(frozen=True)
class Worker:
    """A Deployment, or a pod, of the demo.

    Attributes:
        name: its name and its pods' label.
        hold: MiB that it holds.
        file: that describes it.
    """

    name: str
    hold: int
    file: Path


A = Worker("worker-a", 1500, FILES / "worker-a.yaml")
B = Worker("worker-b", 2000, FILES / "worker-b.yaml")
HAMI_A = Worker("worker-a-hami", 1500, FILES / "worker-a-hami.yaml")
HAMI_B = Worker("worker-b-hami", 2000, FILES / "worker-b-hami.yaml")
GREEDY = Worker("greedy", 500, FILES / "greedy.yaml")


def on_the_real_gpu(stage: Stage, workers: tuple[Worker, ...]) -> tuple[Worker, ...]:
    """The workers of the simulated RTX with this machine's own GPU named instead; none where it is too small for them.

    By UUID: a simulated one may be of the same model.
    """
    said = stage.show.ask(f"kubectl -n {SYSTEM} get configmap {names.inventory_name(REAL.name)}")["data"]
    gpus = Inventory.from_data(said).gpus
    if not gpus or gpus[0].capacity.count * 20 // 100 < (A.hold + _CONTEXT) * MIB:
        what = f"a GPU of {gpus[0].capacity}" if gpus else "no GPU that the driver tells"
        stage.show.skip("the same two on this machine's own GPU", f"{what}, and 20 % of it must hold {A.hold} MiB")
        return ()

    def variant(one: Worker) -> Worker:
        name = f"{one.name}-real"
        file = stage.folder / f"{name}.yaml"
        text = one.file.read_text().replace(one.name, name)
        asked = f"{names.MODELS}: {SIMULATED[0].model}"
        file.write_text(text.replace(asked, f"{names.UUIDS}: {gpus[0].uuid}"))
        return Worker(name, one.hold, file)

    return tuple(variant(one) for one in workers)


def pod_of(stage: Stage, worker: Worker) -> dict[str, Any]:
    """The Deployment's one pod; made from its template where no controller makes it."""

    def first() -> dict[str, Any] | None:
        stage.processes.check()
        found = stage.show.ask(f"kubectl -n {TEAM} get pods -l app={worker.name}") or {"items": []}
        live = [pod for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")]
        return live[0] if live else None

    try:
        return stage.show.until(f"{worker.name} has a pod", first, seconds=RUN if stage.kubelets else _CONTROLLERS)
    except DemoError:
        if stage.kubelets:
            raise
    stage.show.say("No controller manager runs here: the pod is made from the Deployment's template instead.")
    stage.show.text(f"kubectl -n {TEAM} create serviceaccount default")  # that controller's work too
    template = yaml.safe_load(worker.file.read_text())["spec"]["template"]
    template["metadata"]["name"] = f"{worker.name}-0-0"
    file = stage.folder / f"{worker.name}-pod.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **template}, sort_keys=False))
    stage.show.run(f"kubectl -n {TEAM} apply -f {quote(str(file))}")
    return stage.show.until(f"{worker.name} has a pod", first, seconds=_APPEAR)


def granted_pod_of(stage: Stage, worker: Worker) -> dict[str, Any]:
    """The worker's pod once it has its slice: it may have waited for a node that had just come up."""

    def granted() -> dict[str, Any] | None:
        pod = pod_of(stage, worker)
        return pod if annotation(pod, names.DEVICES) else None

    return stage.show.until(f"{worker.name} is granted its slice", granted, seconds=RUN)


def progress(stage: Stage, worker: Worker) -> tuple[int, int, int]:
    """Products so far, and MiB used and shown, from the worker's latest line."""

    def latest() -> tuple[int, int, int] | None:
        stage.processes.check()
        lines = _PROGRESS.findall(stage.show.text(f"kubectl -n {TEAM} logs -l app={worker.name} --tail=5"))
        return (int(lines[-1][0]), int(lines[-1][1]), int(lines[-1][2])) if lines else None

    return stage.show.until(f"{worker.name} makes progress", latest, seconds=RUN)


def later(stage: Stage, worker: Worker, before: int) -> int | None:
    """Products so far, once they are more than before."""
    done, _, _ = progress(stage, worker)
    return done if done > before else None


def booked(stage: Stage, node: str, uuid: str) -> tuple[int, int]:
    """Bytes granted on a GPU over all grants, and what it has, in the product's own reading."""
    ledger = stage.show.ask(f"kubectl -n {SYSTEM} get configmap {names.ledger_name(node)}")["data"]
    said = stage.show.ask(f"kubectl -n {SYSTEM} get configmap {names.inventory_name(node)}")["data"]
    totals = [Grant.from_text(key, text, node=node).allocation.totals() for key, text in ledger.items()]
    booked = sum(one[uuid].memory.count for one in totals if uuid in one)
    (gpu,) = (one for one in Inventory.from_data(said).gpus if one.uuid == uuid)
    return booked, gpu.capacity.count


def slice_of(pod: dict[str, Any]) -> int:
    """Bytes of the worker container's slice."""
    found = re.search(r"memory=(\d+)", annotation(pod, "allocation.vramshare.io/worker"))
    return int(found[1]) if found else 0


def annotation(pod: dict[str, Any], name: str) -> str:
    """An annotation's value; empty where there is none."""
    return str(pod["metadata"].get("annotations", {}).get(name, ""))


def resources(container: dict[str, Any]) -> list[str]:
    """Names of what a container requests and is limited to."""
    return [name for part in container.get("resources", {}).values() if isinstance(part, dict) for name in part]
