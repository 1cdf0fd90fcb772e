"""The story of the demo, chapter by chapter, each with the claims that must hold."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
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
WORKER: Final = Path("scripts/demo_worker.py")
_APPEAR: Final = 30.0
_RUN: Final = 60.0
_CONTROLLERS: Final = 10.0
_PROGRESS: Final = re.compile(r"products (\d+) of .*memory used (\d+) MiB of (\d+) MiB")
_MIB: Final = 1024**2


@dataclass(frozen=True)
class Worker:
    """A Deployment of the demo.

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


def tell(stage: Stage) -> None:
    """All of it."""
    _what_is_simulated(stage)
    _opt_in(stage)
    _share(stage, "Two workers, one GPU", (A, B))
    _share(stage, "The same two, as users of HAMi write them", (HAMI_A, HAMI_B))
    _moved_over(stage)
    workers = [A, B, HAMI_A, HAMI_B]
    if any(node.real for node in stage.nodes):
        pair = _on_the_real_gpu(stage)
        _share(stage, "The same two on this machine's own GPU", pair)
        workers += pair
    _read(stage)
    _measure(stage, workers)
    _wall(stage)
    _wait(stage)


def _what_is_simulated(stage: Stage) -> None:
    show = stage.show
    show.title("What is simulated here")
    if any(node.real for node in stage.nodes):
        show.say("node-real has this machine's own GPU and driver.")
    show.say("The other GPUs are simulated: a libcuda and a libnvidia-ml that keep real books of memory, across")
    show.say(
        "processes, and let kernels take time without computing. The programs and the interposer see no difference."
    )
    show.say("Shares of GPU time (cores) are reserved and recorded; nothing enforces them yet.")


def _opt_in(stage: Stage) -> None:
    show = stage.show
    show.title("A namespace opts in")
    show.run(f"kubectl create namespace {TEAM}")
    show.run(f"kubectl label namespace {TEAM} vramshare.io/inject=enabled")
    show.run(f"kubectl -n {TEAM} create configmap demo --from-file=worker.py={WORKER}")


def _share(stage: Stage, title: str, workers: tuple[Worker, Worker]) -> None:
    show = stage.show
    show.title(title)
    for one in workers:
        show.run(f"cat {one.file}")
    files = " ".join(f"-f {one.file}" for one in workers)
    show.run(f"kubectl -n {TEAM} apply {files}")
    pods = [_pod_of(stage, one) for one in workers]
    if stage.kubelets:
        for one in workers:
            show.run(f"kubectl -n {TEAM} wait --for=condition=Ready pod -l app={one.name} --timeout={_RUN:.0f}s")
    show.run(
        f"kubectl -n {TEAM} get pods -l 'app in ({workers[0].name},{workers[1].name})' "
        r"-o custom-columns=NAME:.metadata.name,STATUS:.status.phase,NODE:.spec.nodeName,"
        r"GPU:.metadata.annotations.vramshare\.io/devices"
    )
    devices = {_annotation(pod, "vramshare.io/devices") for pod in pods}
    both = " and ".join(one.name for one in workers)
    show.claim(f"{both} share one GPU", len(devices) == 1 and "" not in devices, ", ".join(sorted(devices)))
    if stage.kubelets:
        pods = [_pod_of(stage, one) for one in workers]
        phases = {pod["status"].get("phase") for pod in pods}
        show.claim(f"{both} are running", phases == {"Running"}, ", ".join(map(str, phases)))
    else:
        show.skip(f"{both} are running", "no kubelet runs on this control plane's simulated nodes")


def _on_the_real_gpu(stage: Stage) -> tuple[Worker, Worker]:
    """Workers A and B with this machine's GPU named instead of the simulated one."""
    said = stage.show.ask(f"kubectl -n {SYSTEM} get configmap {names.inventory_name(REAL.name)}")["data"]
    model = Inventory.from_data(said).gpus[0].model

    def variant(one: Worker) -> Worker:
        name = f"{one.name}-real"
        file = stage.folder / f"{name}.yaml"
        file.write_text(one.file.read_text().replace(one.name, name).replace(SIMULATED[0].model, model))
        return Worker(name, one.hold, file)

    return variant(A), variant(B)


def _moved_over(stage: Stage) -> None:
    """What became of HAMi's resources and scheduler in the pods."""
    for one in (HAMI_A, HAMI_B):
        pod = _pod_of(stage, one)
        left = [
            name for spec in pod["spec"]["containers"] for name in _resources(spec) if name.startswith("nvidia.com/")
        ]
        stage.show.claim(
            f"{one.name}: nothing asks the nodes for nvidia.com resources any more", not left, ", ".join(left)
        )
        scheduler = pod["spec"].get("schedulerName", "")
        stage.show.claim(f"{one.name} is placed by the stock scheduler", scheduler == "default-scheduler", scheduler)


def _read(stage: Stage) -> None:
    show = stage.show
    show.title("Reading the result")
    pod = _pod_of(stage, A)
    name, node = pod["metadata"]["name"], _annotation(pod, "vramshare.io/node")
    described = show.run(f"kubectl -n {TEAM} describe pod {name}")
    uuid = _annotation(pod, "vramshare.io/devices")
    show.claim("describe says which GPU the pod has and how much of it", f"{uuid} memory=" in described, uuid)
    ledger = show.run(f"kubectl -n {SYSTEM} describe configmap vramshare-ledger-{node}")
    for one in (A, B):
        granted = _annotation(_pod_of(stage, one), "vramshare.io/allocation-id")
        show.claim(f"the node's ledger names {one.name}'s grant", granted != "" and granted in ledger, granted)
    booked, capacity = _booked(stage, node, uuid)
    show.claim(
        "the grants on the GPU stay within its memory",
        0 < booked <= capacity,
        f"{booked // _MIB} of {capacity // _MIB} MiB",
    )


def _measure(stage: Stage, workers: list[Worker]) -> None:
    show = stage.show
    show.title("Memory used, against the limit")
    if not stage.kubelets:
        show.skip("each worker sees its slice and uses what it holds", "needs a kubelet")
        return
    for one in workers:
        _, used, total = _progress(stage, one)
        granted = _slice(_pod_of(stage, one)) // _MIB
        show.run(f"kubectl -n {TEAM} logs -l app={one.name} --tail=1")
        show.claim(
            f"{one.name} is shown its slice as if it were the GPU", total == granted, f"{total} of {granted} MiB"
        )
        show.claim(f"{one.name} uses what it holds and its context", one.hold <= used <= granted, f"{used} MiB")
    tables = "".join(show.run(f"vramshare top --once --host-root {stage.host_root(node)}") for node in stage.nodes)
    for one in workers:
        row = re.search(rf"{TEAM}/{one.name}-\w+-\w+ .*? (\d+)Mi +\d+Mi", tables)
        seen = int(row[1]) if row else 0
        _, used, _ = _progress(stage, one)
        show.claim(f"the node sees the same use of {one.name}", abs(seen - used) <= 1, f"{seen} and {used} MiB")


def _wall(stage: Stage) -> None:
    show = stage.show
    show.title("Asking for more than the slice")
    show.run(f"cat {FILES}/greedy.yaml")
    show.run(f"kubectl -n {TEAM} apply -f {FILES}/greedy.yaml")
    if not stage.kubelets:
        show.skip("the driver refuses what goes beyond the slice, and the neighbours go on", "needs a kubelet")
        return
    before = {one: _progress(stage, one)[0] for one in (A, B)}

    def told() -> bool:
        return "going on" in show.text(f"kubectl -n {TEAM} logs greedy")

    show.until("the greedy pod has asked", lambda: stage.processes.check() and told(), seconds=_RUN)
    log = show.run(f"kubectl -n {TEAM} logs greedy")
    refused = "asked for 3000 MiB: CUDA_ERROR_OUT_OF_MEMORY" in log
    show.claim("3,000 MiB more than the slice are refused as out of memory", refused)
    devices = {_annotation(_pod_of(stage, one), "vramshare.io/devices") for one in (A, B)}
    pod = show.ask(f"kubectl -n {TEAM} get pod greedy")
    show.claim("on the GPU that A and B share", {_annotation(pod, "vramshare.io/devices")} == devices)
    show.claim("the refused process goes on and gets what does fit", "asked for 1 MiB: granted" in log)
    for one in (A, B):
        more = show.until(f"{one.name} makes progress", partial(_later, stage, one, before[one]), seconds=_RUN)
        restarts = _pod_of(stage, one)["status"]["containerStatuses"][0]["restartCount"]
        show.claim(f"{one.name} goes on meanwhile", restarts == 0, f"product {before[one]}, now {more}, no restart")


def _wait(stage: Stage) -> None:
    show = stage.show
    show.title("Asking for more than any GPU has")
    show.run(f"cat {FILES}/too-big.yaml")
    show.run(f"kubectl -n {TEAM} apply -f {FILES}/too-big.yaml")
    show.run(f"kubectl -n {TEAM} get pod too-big")
    show.run(f"kubectl -n {TEAM} describe pod too-big")
    pod = show.ask(f"kubectl -n {TEAM} get pod too-big")
    gates = [gate["name"] for gate in pod["spec"].get("schedulingGates", [])]
    show.claim("the pod waits, held by its gate", gates == ["vramshare.io/capacity"], ", ".join(gates))
    reason = _annotation(pod, "vramshare.io/reason")
    show.claim("and says what is missing", "60Gi" in reason, reason)


def _pod_of(stage: Stage, worker: Worker) -> dict[str, Any]:
    """The Deployment's one pod; made from its template where no controller makes it."""

    def first() -> dict[str, Any] | None:
        stage.processes.check()
        found = stage.show.ask(f"kubectl -n {TEAM} get pods -l app={worker.name}") or {"items": []}
        live = [pod for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")]
        return live[0] if live else None

    try:
        return stage.show.until(f"{worker.name} has a pod", first, seconds=_CONTROLLERS)
    except DemoError:
        if stage.kubelets:
            raise
    stage.show.say("No controller manager runs here: the pod is made from the Deployment's template instead.")
    template = yaml.safe_load(worker.file.read_text())["spec"]["template"]
    template["metadata"]["name"] = f"{worker.name}-0-0"
    file = stage.folder / f"{worker.name}-pod.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **template}, sort_keys=False))
    stage.show.run(f"kubectl -n {TEAM} apply -f {file}")
    return stage.show.until(f"{worker.name} has a pod", first, seconds=_APPEAR)


def _progress(stage: Stage, worker: Worker) -> tuple[int, int, int]:
    """Products so far, and MiB used and shown, from the worker's latest line."""

    def latest() -> tuple[int, int, int] | None:
        stage.processes.check()
        lines = _PROGRESS.findall(stage.show.text(f"kubectl -n {TEAM} logs -l app={worker.name} --tail=5"))
        return (int(lines[-1][0]), int(lines[-1][1]), int(lines[-1][2])) if lines else None

    return stage.show.until(f"{worker.name} makes progress", latest, seconds=_RUN)


def _later(stage: Stage, worker: Worker, before: int) -> int | None:
    """Products so far, once they are more than before."""
    done, _, _ = _progress(stage, worker)
    return done if done > before else None


def _booked(stage: Stage, node: str, uuid: str) -> tuple[int, int]:
    """Bytes granted on a GPU over all grants, and what it has, in the product's own reading."""
    ledger = stage.show.ask(f"kubectl -n {SYSTEM} get configmap {names.ledger_name(node)}")["data"]
    said = stage.show.ask(f"kubectl -n {SYSTEM} get configmap {names.inventory_name(node)}")["data"]
    totals = [Grant.from_text(key, text, node=node).allocation.totals() for key, text in ledger.items()]
    booked = sum(one[uuid].memory.count for one in totals if uuid in one)
    (gpu,) = (one for one in Inventory.from_data(said).gpus if one.uuid == uuid)
    return booked, gpu.capacity.count


def _slice(pod: dict[str, Any]) -> int:
    """Bytes of the worker container's slice."""
    found = re.search(r"memory=(\d+)", _annotation(pod, "allocation.vramshare.io/worker"))
    return int(found[1]) if found else 0


def _annotation(pod: dict[str, Any], name: str) -> str:
    return str(pod["metadata"].get("annotations", {}).get(name, ""))


def _resources(container: dict[str, Any]) -> list[str]:
    return [name for part in container.get("resources", {}).values() if isinstance(part, dict) for name in part]
