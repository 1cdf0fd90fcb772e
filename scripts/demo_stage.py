"""Sets the stage: a cluster (our own or a given one) with GPU nodes, and vramshare installed in it."""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import demo_install
from demo_nodes import REAL, SIMULATED, DemoNode, Hollow, write_cluster, write_descriptions
from demo_processes import Processes
from demo_show import DemoError, Show, environment
from devcluster.kubelet.plan import PROCESS, is_below
from devcluster.kubelet.runtime import detect_isolation

from allocator.api import names

ROOT: Final = Path(__file__).resolve().parents[1]
MOUNTED: Final = (
    names.LIBRARY_DIR,
    names.ALLOCATION_DIR,
    names.REGION_DIR,
    "/opt/demo",
    "/opt/programs",
    "/opt/control",
)
"""Where the story's containers have mounts. Containers of the embedded cluster see this checkout."""
_START: Final = 60.0
_NO_KUBELET: Final = "no kubelet runs on this control plane's simulated nodes"
_NO_MOUNTS: Final = "this machine lets no process have mounts of its own; run as root, or allow user namespaces"


@dataclass(frozen=True)
class Stage:
    """What the story plays on.

    Attributes:
        show: how it speaks.
        folder: the demo's files.
        kubeconfig: of the cluster.
        nodes: its GPU nodes.
        kubelets: whether containers run on them.
        unwalled: why containers cannot have the mounts that their wall needs; empty where they can.
        processes: what was started.
    """

    show: Show
    folder: Path
    kubeconfig: Path
    nodes: tuple[DemoNode, ...]
    kubelets: bool
    unwalled: str
    processes: Processes

    def host_root(self, node: DemoNode) -> Path:
        """Where a node's file system is seen from here."""
        return self.folder / "cluster" / "nodes" / node.name / "root"


@contextmanager
def set_up(
    folder: Path, *, given: Path | None, nodes: tuple[DemoNode, ...] = (), nvml: bool = False
) -> Iterator[Stage]:
    """Everything running, and all of it stopped afterwards.

    Args:
        folder: for the demo's files; may hold an earlier run's.
        given: kubeconfig of a control plane to use; None: start the embedded cluster.
        nodes: its GPU nodes; none: the simulated ones, and this machine's own where it has a GPU.
        nvml: whether agents of simulated nodes ask the simulated driver's NVML, as they would a real one.

    Raises:
        DemoError: it cannot be.
    """
    check_places(folder, runs_from=sys.prefix)
    nodes = nodes or (SIMULATED if given or not real_gpu() else (*SIMULATED, REAL))
    descriptions = write_descriptions(folder / "gpus")
    kubeconfig = given.resolve() if given else folder / "cluster" / "kubeconfig"
    show = Show(environment=environment(kubeconfig))
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(folder=folder / "logs", environment=show.environment))
        isolation = _isolation(folder) if given is None else ""
        unwalled = _NO_KUBELET if given else _NO_MOUNTS if isolation == PROCESS else ""
        stage = Stage(show, folder, kubeconfig, nodes, kubelets=not given, unwalled=unwalled, processes=processes)
        if given:
            stack.enter_context(Hollow(show, nodes, folder))
        else:
            _start_cluster(stage, descriptions, isolation)
        plan = demo_install.Plan(
            show=show,
            folder=folder,
            processes=processes,
            agents={node.name: _agent(stage, node, None if nvml else descriptions.get(node.name)) for node in nodes},
        )
        if given:
            stack.callback(demo_install.uninstall, plan)
        demo_install.install(plan)
        yield stage


def check_places(folder: Path, *, runs_from: str) -> None:
    """Say at once what would keep every pod from running.

    Raises:
        DemoError: something would.
    """
    if re.search(r"[\s:]", str(folder)):  # the nodes' folders lie in it
        raise DemoError(f"the folder {str(folder)!r} has a space or a colon, which a preload cannot; use --dir ANOTHER")
    for place in MOUNTED:
        if is_below(runs_from, [place]):
            raise DemoError(f"{runs_from} lies in {place}, where containers have mounts; move the checkout")


def fake_driver(state: Path) -> dict[str, str]:
    """The environment in which a program finds the simulated driver, with its state in this folder."""
    return {"FAKEGPU_DIR": str(state), "LD_LIBRARY_PATH": str(ROOT / "native" / "build" / "fakegpu")}


def _agent(stage: Stage, node: DemoNode, description: Path | None) -> demo_install.AgentPlan:
    """The agent of a node; without a description it asks NVML."""
    root = stage.host_root(node)
    driver = {} if node.real or description else fake_driver(root / "run/fakegpu")
    return demo_install.AgentPlan(root, description, driver)


def real_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with a driver that works."""
    import pynvml  # noqa: PLC0415 - asked once

    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


def _isolation(folder: Path) -> str:
    """How containers can be kept apart on this machine."""
    scratch = folder / "isolation"
    scratch.mkdir(exist_ok=True)
    return asyncio.run(detect_isolation(str(scratch)))


def _start_cluster(stage: Stage, descriptions: dict[str, Path], isolation: str) -> None:
    show = stage.show
    nodes_file = stage.folder / "nodes.yaml"
    write_cluster(nodes_file, stage.nodes, descriptions)
    show.title("A cluster")
    show.say("An embedded one: API server, scheduler, controllers, and a kubelet per node that runs containers as")
    show.say("processes of this machine. kubectl is the real one.")
    cluster = stage.folder / "cluster"
    stage.kubeconfig.unlink(missing_ok=True)  # of an earlier run
    argv: list[object] = [sys.executable, "-m", "devcluster", "up", "--dir", cluster, "--nodes", nodes_file]
    argv += ["--isolation", isolation, "--rbac"]
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


def _is_ready(node: dict[str, object]) -> bool:
    status = node.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
