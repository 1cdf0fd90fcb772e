"""The story of the demo, chapter by chapter, each with the claims that must hold."""

import re
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Final

from demo_install import SYSTEM, TEAM
from demo_pods import (
    FILES,
    GREEDY,
    HAMI_A,
    HAMI_B,
    MIB,
    RUN,
    A,
    B,
    Worker,
    annotation,
    booked,
    granted_pod_of,
    later,
    on_the_real_gpu,
    pod_of,
    progress,
    resources,
    slice_of,
)
from demo_stage import Stage

WORKER: Final = Path("scripts/demo_worker.py")


def tell(stage: Stage) -> None:
    """All of it."""
    _what_is_simulated(stage)
    _opt_in(stage)
    _share(stage, "Two workers, one GPU", (A, B))
    _share(stage, "The same two, as users of HAMi write them", (HAMI_A, HAMI_B))
    _moved_over(stage)
    real = on_the_real_gpu(stage, (A, B, GREEDY)) if any(node.real for node in stage.nodes) else ()
    if real:
        _share(stage, "The same two on this machine's own GPU", real[:2])
    _read(stage)
    _measure(stage, (A, B, HAMI_A, HAMI_B, *real[:2]))
    _wall(stage, "Asking for more than the slice", greedy=GREEDY, neighbours=(A, B))
    if real:
        _wall(stage, "The same on this machine's own GPU", greedy=real[2], neighbours=real[:2])
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
    show.say("Shares of GPU time (cores) are held by turns (docs/cap.md). The claims below are about memory.")


def _opt_in(stage: Stage) -> None:
    show = stage.show
    show.title("A namespace opts in")
    show.run(f"kubectl create namespace {TEAM}")
    show.run(f"kubectl label namespace {TEAM} vramshare.io/inject=enabled")
    show.run(f"kubectl -n {TEAM} create configmap demo --from-file=worker.py={WORKER}")


def _share(stage: Stage, title: str, workers: tuple[Worker, ...]) -> None:
    show = stage.show
    show.title(title)
    for one in workers:
        show.run(f"cat {quote(str(one.file))}")
    files = " ".join(f"-f {quote(str(one.file))}" for one in workers)
    show.run(f"kubectl -n {TEAM} apply {files}")
    pods = [granted_pod_of(stage, one) for one in workers]
    if stage.kubelets:
        for one in workers:
            show.run(f"kubectl -n {TEAM} wait --for=condition=Ready pod -l app={one.name} --timeout={RUN:.0f}s")
    table = show.run(
        f"kubectl -n {TEAM} get pods -l 'app in ({workers[0].name},{workers[1].name})' "
        r"-o custom-columns='NAME:.metadata.name,STATUS:.status.phase,NODE:.spec.nodeName,"
        r"GPU:.metadata.annotations.vramshare\.io/devices'"
    )
    devices = {annotation(pod, "vramshare.io/devices") for pod in pods}
    both = " and ".join(one.name for one in workers)
    shown = all(uuid in table for uuid in devices)
    show.claim(f"{both} share one GPU", len(devices) == 1 and shown, ", ".join(sorted(devices)))
    if stage.kubelets:
        pods = [pod_of(stage, one) for one in workers]
        phases = {pod["status"].get("phase") for pod in pods}
        show.claim(f"{both} are running", phases == {"Running"}, ", ".join(map(str, phases)))
    else:
        show.skip(f"{both} are running", stage.unwalled)


def _moved_over(stage: Stage) -> None:
    """What became of HAMi's resources and scheduler in the pods."""
    for one in (HAMI_A, HAMI_B):
        pod = pod_of(stage, one)
        left = [
            name for spec in pod["spec"]["containers"] for name in resources(spec) if name.startswith("nvidia.com/")
        ]
        stage.show.claim(
            f"{one.name}: nothing asks the nodes for nvidia.com resources any more", not left, ", ".join(left)
        )
        scheduler = pod["spec"].get("schedulerName", "")
        stage.show.claim(f"{one.name} is placed by the stock scheduler", scheduler == "default-scheduler", scheduler)


def _read(stage: Stage) -> None:
    show = stage.show
    show.title("Reading the result")
    pod = pod_of(stage, A)
    name, node = pod["metadata"]["name"], annotation(pod, "vramshare.io/node")
    described = show.run(f"kubectl -n {TEAM} describe pod {name}")
    uuid = annotation(pod, "vramshare.io/devices")
    show.claim("describe says which GPU the pod has and how much of it", f"{uuid} memory=" in described, uuid)
    ledger = show.run(f"kubectl -n {SYSTEM} describe configmap vramshare-ledger-{node}")
    for one in (A, B):
        granted = annotation(pod_of(stage, one), "vramshare.io/allocation-id")
        show.claim(f"the node's ledger names {one.name}'s grant", granted != "" and granted in ledger, granted)
    taken, capacity = booked(stage, node, uuid)
    show.claim(
        "the grants on the GPU stay within its memory",
        0 < taken <= capacity,
        f"{taken // MIB} of {capacity // MIB} MiB",
    )


def _measure(stage: Stage, workers: tuple[Worker, ...]) -> None:
    show = stage.show
    show.title("Memory used, against the limit")
    if stage.unwalled:
        show.skip("each worker sees its slice and uses what it holds", stage.unwalled)
        return
    for one in workers:
        _, used, total = progress(stage, one)
        granted = slice_of(pod_of(stage, one)) // MIB
        show.run(f"kubectl -n {TEAM} logs -l app={one.name} --tail=1")
        show.claim(
            f"{one.name} is shown its slice as if it were the GPU", total == granted, f"{total} of {granted} MiB"
        )
        show.claim(f"{one.name} uses what it holds and its context", one.hold <= used <= granted, f"{used} MiB")
    roots = [quote(str(stage.host_root(node))) for node in stage.nodes]
    tables = "".join(show.run(f"vramshare top --once --host-root {root}") for root in roots)
    for one in workers:
        row = re.search(rf"{TEAM}/{one.name}-\w+-\w+ .*? (\d+)Mi +\d+Mi", tables)
        seen = int(row[1]) if row else 0
        _, used, _ = progress(stage, one)
        show.claim(f"the node sees the same use of {one.name}", abs(seen - used) <= 1, f"{seen} and {used} MiB")


def _wall(stage: Stage, title: str, *, greedy: Worker, neighbours: tuple[Worker, ...]) -> None:
    show = stage.show
    show.title(title)
    if stage.unwalled:
        show.skip("the driver refuses what goes beyond the slice, and the neighbours go on", stage.unwalled)
        return
    show.run(f"cat {quote(str(greedy.file))}")
    show.run(f"kubectl -n {TEAM} apply -f {quote(str(greedy.file))}")
    before = {one: progress(stage, one)[0] for one in neighbours}
    logs = f"kubectl -n {TEAM} logs {greedy.name}"
    show.until(
        "the greedy pod has asked", lambda: stage.processes.check() and "going on" in show.text(logs), seconds=RUN
    )
    log = show.run(logs)
    refused = "asked for 3000 MiB: CUDA_ERROR_OUT_OF_MEMORY" in log
    show.claim(f"{greedy.name} is refused 3,000 MiB more than it holds, as out of memory", refused)
    gpus = {annotation(pod_of(stage, one), "vramshare.io/devices") for one in (greedy, *neighbours)}
    show.claim(f"{greedy.name} is on the same GPU as the other two", len(gpus) == 1, ", ".join(gpus))
    used = sum(progress(stage, one)[1] for one in (greedy, *neighbours))
    pod = pod_of(stage, greedy)
    _, capacity = booked(stage, annotation(pod, "vramshare.io/node"), annotation(pod, "vramshare.io/devices"))
    free = capacity // MIB - used
    show.claim("the GPU itself has that much left: it is the slice that refuses", free >= 3000, f"{free} MiB")
    show.claim(f"{greedy.name} goes on and gets what does fit", "asked for 1 MiB: granted" in log)
    for one in neighbours:
        more = show.until(f"{one.name} makes progress", partial(later, stage, one, before[one]), seconds=RUN)
        restarts = pod_of(stage, one)["status"]["containerStatuses"][0]["restartCount"]
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
    reason = annotation(pod, "vramshare.io/reason")
    show.claim("and says what is missing", "600Gi" in reason, reason)
