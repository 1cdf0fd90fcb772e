"""The chapters of scripts/e2e-gpu. Each does something to the cluster, measures, and states what should hold."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from shlex import quote
from typing import Any, Final

import yaml
from demo_install import SYSTEM, TEAM
from demo_pods import annotation
from demo_show import DemoError, Show
from e2e_measure import MIB, PATIENCE, A, B, Meter, Worker

from allocator.api.inventory import Inventory
from allocator.api.names import inventory_name

GREEDY: Final = "greedy"
CLOSE: Final = 2.0
"""Percent that a neighbour may lose or win."""
LARGER: Final = 30
"""Percent of the GPU's memory to which A is resized."""
_RESIZED: Final = 60.0


@dataclass
class Results:
    """What was found.

    Attributes:
        native: products a second of each worker alone and without vramshare.
        engine: by what they were made.
        memory: MiB by chapter, worker and whose view.
        rates: products a second by chapter and worker.
        said: lines of workers that tell something, by chapter.
        missing: what could not be measured, and why.
    """

    native: Mapping[str, float]
    engine: str
    memory: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def share(self, chapter: str, worker: Worker) -> float:
        """Percent of what the worker does alone without vramshare."""
        return 100 * self.rates[chapter][worker.name] / self.native[worker.name]

    def change(self, chapter: str, worker: Worker, *, before: str = "busy") -> float:
        """Percent that a worker's rate differs from that of an earlier chapter."""
        return 100 * (self.rates[chapter][worker.name] / self.rates[before][worker.name] - 1)


def tell(meter: Meter, results: Results) -> None:
    """All chapters in order."""
    show = meter.stage.show
    _begin(meter)
    _paused(meter, results, show)
    _busy(meter, results, show)
    _greedy(meter, results, show)
    _killed(meter, results, show)
    _restarted(meter, results, show)
    _resized(meter, results, show)
    _evicted(meter, results, show)


def _begin(meter: Meter) -> None:
    show = meter.stage.show
    show.title("Two workers on one GPU")
    show.run(f"kubectl create namespace {TEAM}")
    show.run(f"kubectl label namespace {TEAM} vramshare.io/inject=enabled")
    programs = "--from-file=scripts/e2e_worker.py --from-file=scripts/demo_worker.py"
    show.run(f"kubectl -n {TEAM} create configmap programs {programs}")
    for one in (A, B):
        _apply(meter, deployment(one, uuid=meter.gpu.uuid, python=str(meter.python)), one.name)


def _paused(meter: Meter, results: Results, show: Show) -> None:
    for one in (A, B):
        show.say(json.dumps(meter.latest(one.name)))
    engine = meter.latest(A.name)["engine"]
    if engine != results.engine:
        raise DemoError(f"without vramshare it was {results.engine}, in its pod {engine}: rates cannot be compared")
    results.said["engine"] = engine
    results.rates["with pauses"] = meter.rates(A, B)
    _look(meter, results, "with pauses")
    pods = [_pod(meter, one) for one in (A, B)]
    devices = {annotation(pod, "vramshare.io/devices") for pod in pods}
    show.claim("A and B share one GPU", len(devices) == 1, ", ".join(devices))
    for one in (A, B):
        seen = results.memory["with pauses"][one.name]
        enough = one.hold <= seen["inside"] <= seen["slice"]
        show.claim(
            f"{one.name} holds what it asked, within its slice", enough, f"{seen['inside']} of {seen['slice']} MiB"
        )
        near = abs(seen["inside"] - seen["agent"]) <= 2
        show.claim(f"the agent sees the same of {one.name}", near, f"{seen['agent']} MiB")


def _busy(meter: Meter, results: Results, show: Show) -> None:
    show.title("Both without pauses")
    for one in (A, B):
        _pause(meter, one, 0.0)
    results.rates["settling"] = meter.rates(A, B, seconds=2.0)
    results.rates["busy"] = meter.rates(A, B)
    _look(meter, results, "busy")
    for one in (A, B):
        share = results.share("busy", one)
        # PyTorch's products of some ten microseconds are bound by the host; a cap is a ceiling. Where the GPU is
        # simulated, what the worker did alone was another moment of the processor: only a broken cap shows.
        most = one.cores + 3 if meter.node.real else 1.5 * one.cores
        show.claim(f"{one.name} stays within its cap", share <= most, f"{share:.1f} % of {one.cores} %")
    _attested(meter, results, show)


def _attested(meter: Meter, results: Results, show: Show) -> None:
    """What the agent publishes: who is not isolated, and how much memory is nobody's whom it knows."""
    data = show.ask(f"kubectl -n {SYSTEM} get configmap {inventory_name(meter.node.name)}")["data"]
    inventory, seen = Inventory.from_data(data), results.memory["busy"]
    found = [f"{one.pod} {one.state}: {one.reason}" for one in inventory.findings if one.pod.startswith(f"{TEAM}/")]
    show.claim("the agent finds both isolated", not found, "; ".join(found))
    foreign = sum(one.foreign.count for one in inventory.gpus if one.uuid == meter.gpu.uuid) // MIB
    others = seen["gpu"]["nvml"] - seen[A.name]["inside"] - seen[B.name]["inside"]
    text = f"{foreign} MiB foreign, {others:g} MiB of the GPU's are not theirs"
    show.claim("the agent takes none of their memory for a stranger's", foreign <= others + 64, text)


def _greedy(meter: Meter, results: Results, show: Show) -> None:
    show.title("An over-allocator beside them")
    _apply(meter, greedy(uuid=meter.gpu.uuid, python=str(meter.python)), GREEDY)
    line = meter.latest(GREEDY, until=lambda one: "refusal" in one)
    show.say(json.dumps(line))
    results.said["refusal"] = line["refusal"]
    limit = line["total"] // MIB
    show.claim("it is stopped at its slice", line["had"] <= limit, f"{line['had']} of {limit} MiB")
    words = line["refusal"]
    own = "OutOfMemoryError" in words or "CUDA_ERROR_OUT_OF_MEMORY" in words
    show.claim("by the program's own out-of-memory error", own, words)
    results.rates["beside the over-allocator"] = meter.rates(A, B)
    _look(meter, results, "beside the over-allocator")
    show.run(f"kubectl -n {TEAM} delete pod {GREEDY} --grace-period=1")
    results.rates["after the over-allocator"] = meter.rates(A, B)
    # Before and after in one: the host's clock wanders, and a neighbour's loss must not be mistaken for it.
    results.rates["around the over-allocator"] = _mean(results, "busy", "after the over-allocator")
    for one in (A, B):
        change = results.change("beside the over-allocator", one, before="around the over-allocator")
        _unnoticed(meter, f"{one.name} does not notice", change)


def _killed(meter: Meter, results: Results, show: Show) -> None:
    show.title("kill -9 of B")
    line = meter.latest(B.name)
    held = meter.nvml()
    name = _pod(meter, B)["metadata"]["name"]
    show.run(f"kubectl -n {TEAM} exec {name} -- sh -c 'kill -9 {line['pid']}'")
    results.rates["while B is killed"] = meter.rates(A)
    back = meter.latest(
        B.name, until=lambda one: one["clock"] > line["clock"] + 1 and one["products"] < line["products"]
    )
    show.say(json.dumps(back))
    results.rates["after the kill"] = meter.rates(A, B)
    results.rates["around the kill"] = _mean(results, "after the over-allocator", "after the kill")
    change = results.change("while B is killed", A, before="around the kill")
    _unnoticed(meter, "A does not notice", change)
    left = abs(meter.nvml() - held) // MIB
    show.claim("nothing of the killed process is left on the GPU", left <= 16, f"{left} MiB by NVML")
    _look(meter, results, "after the kill")


def _restarted(meter: Meter, results: Results, show: Show) -> None:
    show.title("A restart of B")
    before = _pod(meter, B)
    show.run(f"kubectl -n {TEAM} rollout restart deployment {B.name}")
    _replaced(meter, before)
    _pause(meter, B, 0.0)
    results.rates["after the restart"] = meter.rates(A, B)
    seen = meter.latest(B.name)["used"] // MIB
    show.claim("B holds what it asked again", seen >= B.hold, f"{seen} MiB")


def _resized(meter: Meter, results: Results, show: Show) -> None:
    show.title("A's slice grows while it runs")
    before, pod = meter.latest(A.name), _pod(meter, A)
    name = pod["metadata"]["name"]
    try:
        show.run(
            f"kubectl -n {TEAM} annotate pod {name} --overwrite memory.vramshare.io/worker={LARGER}% "
            "vramshare.io/resize=wanted"
        )
        _accepted(meter)
        larger = partial(_grown, meter, before["total"])
        after = show.until("A is shown a larger slice", larger, seconds=_RESIZED)
    except DemoError as reason:
        results.missing["resize"] = str(reason)
        show.skip("A's slice grows without a restart", str(reason))
        return
    results.said["resize"] = f"{before['total'] // MIB} -> {after['total'] // MIB} MiB"
    same = after["pid"] == before["pid"] and after["products"] > before["products"]
    show.claim("A's slice grew without a restart", same, results.said["resize"])


def _evicted(meter: Meter, results: Results, show: Show) -> None:
    show.title("B is evicted")
    before = _pod(meter, B)
    name = before["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": TEAM}}
    file = meter.stage.folder / "eviction.json"
    file.write_text(json.dumps(eviction))
    show.run(f"kubectl create --raw /api/v1/namespaces/{TEAM}/pods/{name}/eviction -f {quote(str(file))}")
    results.rates["while B is evicted"] = meter.rates(A)
    _replaced(meter, before)
    after = _pod(meter, B)
    old, new = (annotation(pod, "vramshare.io/allocation-id") for pod in (before, after))
    show.claim("its successor has a grant of its own and runs", bool(new) and old != new, f"{old} -> {new}")
    change = results.change("while B is evicted", A)
    results.rates["at the end"] = meter.rates(A)
    show.say(f"A while B left and came: {change:+.1f} % of its rate beside a busy B")


def _unnoticed(meter: Meter, text: str, change: float) -> None:
    """A claim about a GPU. Where it is simulated, kernels last as long as the processor lets them."""
    if meter.node.real:
        meter.stage.show.claim(text, abs(change) <= CLOSE, f"{change:+.1f} %")
    else:
        meter.stage.show.say(f"{text}: {change:+.1f} %, on a simulated GPU, whose time is the processor's")


def _look(meter: Meter, results: Results, chapter: str) -> None:
    results.memory[chapter] = meter.views(A, B)
    for name, found in results.memory[chapter].items():
        meter.stage.show.say(f"{name}: {', '.join(f'{what} {value:g}' for what, value in found.items())}")


def _mean(results: Results, *chapters: str) -> dict[str, float]:
    return {
        one.name: statistics.mean(results.rates[chapter][one.name] for chapter in chapters)
        for one in (A, B)
        if all(one.name in results.rates[chapter] for chapter in chapters)
    }


def _accepted(meter: Meter) -> None:
    """Whether the webhook lets the size of a running pod be asked for."""
    if annotation(_pod(meter, A), "memory.vramshare.io/worker") != f"{LARGER}%":
        raise DemoError("the webhook keeps the size of a running pod")


def _grown(meter: Meter, before: int) -> dict[str, Any] | None:
    line = meter.latest(A.name)
    return line if line["total"] > before else None


def _pod(meter: Meter, worker: Worker) -> dict[str, Any]:
    """The worker's pod, once it is running."""

    def look() -> dict[str, Any] | None:
        meter.stage.processes.check()
        found = meter.stage.show.ask(f"kubectl -n {TEAM} get pods -l app={worker.name}") or {"items": []}
        live = [pod for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")]
        running = [pod for pod in live if pod["status"].get("phase") == "Running"]
        return running[0] if len(running) == 1 else None

    return meter.stage.show.until(f"{worker.name} runs", look, seconds=PATIENCE)


def _replaced(meter: Meter, before: Mapping[str, Any]) -> None:
    """Wait until B's successor works."""
    old = before["metadata"]["uid"]

    def look() -> bool:
        found = meter.stage.show.ask(f"kubectl -n {TEAM} get pods -l app={B.name}") or {"items": []}
        uids = {pod["metadata"]["uid"] for pod in found["items"]}
        return bool(uids) and old not in uids and bool(meter.lines(B.name, tail=1))

    meter.stage.show.until("the successor of worker-b works", look, seconds=PATIENCE)


def _pause(meter: Meter, worker: Worker, seconds: float) -> None:
    """Have a worker pause so long between products."""
    name = _pod(meter, worker)["metadata"]["name"]
    meter.stage.show.run(f"kubectl -n {TEAM} exec {name} -- sh -c 'echo {seconds} >/opt/control/pause'")


def _apply(meter: Meter, document: dict[str, Any], name: str) -> None:
    file = meter.stage.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    meter.stage.show.run(f"kubectl -n {TEAM} apply -f {quote(str(file))}")


def deployment(worker: Worker, *, uuid: str, python: str) -> dict[str, Any]:
    """The Deployment of a worker."""
    argv = [f"--name={worker.name}", f"--hold={worker.hold}", f"--size={worker.size}", f"--pause={worker.pause}"]
    template = _template(worker.name, [python, "/opt/programs/e2e_worker.py", *argv], uuid=uuid)
    asked = {"vramshare.io/memory": f"{worker.memory}%", "vramshare.io/cores": str(worker.cores)}
    template["metadata"]["annotations"] |= asked
    selector = {"matchLabels": {"app": worker.name}}
    # A rolling update would want room for two.
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    spec = {"replicas": 1, "selector": selector, "strategy": strategy, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": worker.name}, "spec": spec}


def greedy(*, uuid: str, python: str) -> dict[str, Any]:
    """The over-allocator: 10 % of the GPU, and it asks for all of it."""
    pod = _template(
        GREEDY, [python, "/opt/programs/e2e_worker.py", "--name=greedy", "--hold=100", "--greedy"], uuid=uuid
    )
    pod["metadata"]["annotations"]["vramshare.io/memory"] = "10%"
    pod["metadata"]["name"] = GREEDY
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def _template(name: str, command: list[str], *, uuid: str) -> dict[str, Any]:
    mounts = [{"name": "programs", "mountPath": "/opt/programs"}, {"name": "control", "mountPath": "/opt/control"}]
    container = {"name": "worker", "image": "pytorch/pytorch", "command": command, "volumeMounts": mounts}
    volumes = [{"name": "programs", "configMap": {"name": "programs"}}, {"name": "control", "emptyDir": {}}]
    return {
        "metadata": {"labels": {"app": name}, "annotations": {"vramshare.io/uuids": uuid}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes},
    }
