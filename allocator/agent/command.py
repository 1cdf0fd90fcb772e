"""`vramshare agent`: settings from arguments and environment, then the loop until a signal."""

import argparse
import asyncio
import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from allocator import logs
from allocator.agent.agent import Pace
from allocator.agent.health import QUIET
from allocator.agent.known import pattern
from allocator.agent.serve import serve
from allocator.agent.settings import AgentSettings
from allocator.agent.show import MetricsSettings
from allocator.api import names
from allocator.api.inventory import Strategy
from allocator.kube.connect import KubeSettings

AUTO: Final = "auto"
REPORT: Final = "report"
EVICT: Final = "evict"
REFUSE: Final = "refuse"
SHARE: Final = "share"
DEFAULT_INTERPOSER: Final = "/usr/lib/vramshare/libvramshare.so"
"""Where the agent's image has it."""


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
    add("--proc", type=Path, default=Path("/proc"), metavar="DIR", help="where the host's processes are seen")
    add(
        "--on-violation",
        choices=(REPORT, EVICT),
        default=environ.get("VRAMSHARE_ON_VIOLATION") or REPORT,
        help="what is done about a pod that is not isolated",
    )
    add(
        "--known",
        type=pattern,
        action="append",
        metavar="NAMESPACE/POD",
        default=[pattern(one) for one in environ.get("VRAMSHARE_KNOWN", "").split()],
        help="pods (shell patterns) that may use GPUs without a grant, such as monitoring; may be repeated",
    )
    add(
        "--neighbours",
        choices=(REFUSE, SHARE),
        default=environ.get("VRAMSHARE_NEIGHBOURS") or REFUSE,
        help="what is done with GPUs that a device plugin or a DRA driver gives out as well: use none of them, or use "
        "those that no pod has got from it",
    )
    add(
        "--xid-quiet",
        type=_minutes,
        default=QUIET,
        metavar="MINUTES",
        help="how long a GPU must have had no error before it is in use again",
    )
    add(
        "--ignore-xid",
        type=int,
        action="append",
        metavar="XID",
        default=[],
        help="an error that says nothing about the GPU, beside those of applications; may be repeated",
    )
    add("--look", type=_seconds, default=Pace().look, metavar="SECONDS", help="time between two looks at isolation")
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
        pace=Pace(turn=args.turn, look=args.look),
        proc=args.proc,
        evict=args.on_violation == EVICT,
        known=tuple(args.known),
        share=args.neighbours == SHARE,
        xid_quiet=args.xid_quiet,
        ignored_xids=frozenset(args.ignore_xid),
        metrics=MetricsSettings(host=args.metrics_host, port=args.metrics_port, hami=args.hami_metrics),
    )


def _minutes(text: str) -> timedelta:
    value = float(text)
    if not 0 <= value <= 7 * 24 * 60:
        raise argparse.ArgumentTypeError(f"{text}: write 0 to 10080 minutes")
    return timedelta(minutes=value)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: write 0.1 to 3600 seconds")
    return value
