"""`vramshare agent`: settings from arguments and environment, then the loop until a signal."""

import argparse
import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from allocator import logs
from allocator.agent.agent import Agent, Pace
from allocator.agent.gpus import GpuSource
from allocator.agent.kubelet import LOGS, Container, activity, containers, kubelet_folder
from allocator.agent.prepare import NodePreparation
from allocator.agent.publisher import Publisher
from allocator.agent.sample import Latest
from allocator.agent.show import MetricsSettings, showing
from allocator.agent.simulated import SimulatedGpus
from allocator.agent.turns import Timetables
from allocator.api import names
from allocator.api.inventory import Strategy
from allocator.kube.client import Client
from allocator.kube.clock import SystemClock
from allocator.kube.connect import KubeSettings

_log = structlog.get_logger(__name__)

AUTO: Final = "auto"
DEFAULT_INTERPOSER: Final = "/usr/lib/vramshare/libvramshare.so"
"""Where the agent's image has it."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What an agent must know before it starts.

    Attributes:
        node: name of the Kubernetes node.
        namespace: the system namespace, where inventory and Lease go.
        interposer: the library as built.
        host_dir: the folder that GPU containers mount; the webhook must be told the same.
        host_root: where the host's file system is seen, to detect the injection strategy.
        strategy: how GPUs reach containers; None: detect.
        simulate: description of simulated GPUs; None: ask NVML.
        kube: how to reach the API server.
        pace: how often things are done.
        metrics: where Prometheus finds us.
    """

    node: str
    namespace: str
    interposer: Path
    host_dir: Path
    host_root: Path
    strategy: Strategy | None
    simulate: Path | None
    kube: KubeSettings
    pace: Pace
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


class AgentCommand:
    """The subcommand."""

    help = "publish this node's GPUs and keep the interposer installed (one per GPU node)"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say; the environment gives the defaults."""
        add_arguments(parser, os.environ)

    def run(self, args: argparse.Namespace) -> int:
        """Run until SIGTERM or SIGINT."""
        logs.configure(level=args.log_level, log_format=args.log_format)
        asyncio.run(serve(settings_of(args)))
        return 0


command: Final = AgentCommand()


def add_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """The agent's arguments, with defaults out of `environ`."""
    add = parser.add_argument
    add("--node", default=environ.get("NODE_NAME") or socket.gethostname(), help="name of this Kubernetes node")
    add("--namespace", default=environ.get("POD_NAMESPACE") or names.DEFAULT_NAMESPACE, help="vramshare's namespace")
    add("--interposer", type=Path, default=environ.get("VRAMSHARE_INTERPOSER") or DEFAULT_INTERPOSER, metavar="FILE")
    add("--host-dir", type=Path, default=Path(names.DEFAULT_HOST_DIR), help="folder that GPU containers mount")
    add("--host-root", type=Path, default=Path("/"), help="where the host's file system is mounted, for detection")
    add(
        "--strategy",
        choices=(AUTO, Strategy.ENV.value, Strategy.CDI.value),
        default=AUTO,
        help="how a GPU reaches a container: by UUID, by CDI name, or as detected",
    )
    add("--simulate", type=Path, metavar="GPUS.INI", help="publish the GPUs that this file describes")
    add("--kubeconfig", type=Path, help="default: the pod's service account, else KUBECONFIG")
    add("--turn", type=_seconds, default=Pace().turn, metavar="SECONDS", help="time between two readings of the GPUs")
    add("--metrics-host", default=MetricsSettings().host, help="address for Prometheus")
    add("--metrics-port", type=int, default=MetricsSettings().port, help="port for Prometheus; 0: any free one")
    add("--hami-metrics", action="store_true", help="metrics stand under HAMi's names too")
    add("--log-level", choices=logs.LEVELS, default="info")
    add("--log-format", choices=logs.FORMATS, default="json")


def settings_of(args: argparse.Namespace) -> AgentSettings:
    """The settings that the command line names."""
    return AgentSettings(
        node=args.node,
        namespace=args.namespace,
        interposer=args.interposer,
        host_dir=args.host_dir,
        host_root=args.host_root,
        strategy=None if args.strategy == AUTO else Strategy(args.strategy),
        simulate=args.simulate,
        kube=KubeSettings(kubeconfig=args.kubeconfig, user_agent="vramshare-agent", connections=4),
        pace=Pace(turn=args.turn),
        metrics=MetricsSettings(host=args.metrics_host, port=args.metrics_port, hami=args.hami_metrics),
    )


async def serve(settings: AgentSettings, stop: asyncio.Event | None = None) -> None:
    """Run an agent until `stop` is set, or a signal comes."""
    stop = stop or _on_signals()
    clock = SystemClock()
    latest = Latest()
    preparation = NodePreparation(
        source=settings.interposer,
        host_dir=settings.host_dir,
        version=version("vramshare"),
        # A simulated node has no runtime whose traces could be read; the simulated one takes both forms.
        chosen=settings.strategy or (Strategy.ENV if settings.simulate else None),
        root=settings.host_root,
    )
    async with showing(latest, settings.metrics, clock=clock), Client(settings.kube) as client:
        agent = Agent(
            node=settings.node,
            source=_source(settings),
            preparing=preparation,
            publishing=Publisher(client, node=settings.node, namespace=settings.namespace, clock=clock),
            timetabling=Timetables(
                host_dir=settings.host_dir,
                look=lambda: _containers(settings),
                activity=lambda one: _activity(settings, one),
                now=time.monotonic_ns,
            ),
            clock=clock,
            pace=settings.pace,
        )
        _log.info("agent started", node=settings.node, simulated=settings.simulate is not None)
        await agent.run(stop)
    _log.info("agent stopped", node=settings.node)


def _containers(settings: AgentSettings) -> Iterable[Container]:
    """The node's containers with slices; none where no kubelet's folder can be seen."""
    folder = kubelet_folder(settings.host_root)
    return containers(folder, logs=settings.host_root / LOGS) if folder else ()


def _activity(settings: AgentSettings, one: Container) -> Mapping[str, int]:
    """When a container last launched anything."""
    folder = kubelet_folder(settings.host_root)
    return activity(folder, one) if folder else {}


def _source(settings: AgentSettings) -> GpuSource:
    if settings.simulate:
        return SimulatedGpus(settings.simulate)
    from allocator.agent.nvml import NvmlGpus  # noqa: PLC0415 - pynvml is an extra; a simulated node needs none

    return NvmlGpus()


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: write 0.1 to 3600 seconds")
    return value
