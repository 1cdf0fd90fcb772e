"""`vramshare agent`: settings from arguments and environment, then the loop until a signal."""

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from allocator import logs
from allocator.agent.agent import Pace
from allocator.agent.options import AUTO, EVICT, SHARE, options
from allocator.agent.serve import serve
from allocator.agent.settings import AgentSettings
from allocator.agent.show import MetricsSettings
from allocator.api.inventory import Strategy
from allocator.config import resolved
from allocator.kube.connect import KubeSettings
from allocator.reload import alongside


class AgentCommand:
    """The subcommand."""

    help = "publish this node's GPUs and keep the interposer installed (one per GPU node)"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say; the environment gives the defaults."""
        add_arguments(parser, os.environ)

    def run(self, args: argparse.Namespace) -> int:
        """Run until SIGTERM or SIGINT."""
        chosen = resolved(args)
        logs.configure(level=chosen.log_level, log_format=chosen.log_format)
        asyncio.run(alongside(serve(settings_of(chosen)), args))
        return 0


command: Final = AgentCommand()


def add_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """The agent's arguments; what the environment and a file say counts where the command line is silent."""
    options(environ).declare(parser)


def settings_of(args: argparse.Namespace) -> AgentSettings:
    """The agent's settings.

    Raises:
        SettingError: a value that cannot be.
    """
    args = resolved(args)
    return AgentSettings(
        node=args.node,
        namespace=args.namespace,
        interposer=Path(args.interposer),
        host_dir=Path(args.host_dir),
        host_root=Path(args.host_root),
        strategy=None if args.strategy == AUTO else Strategy(args.strategy),
        simulate=args.simulate,
        kube=KubeSettings(kubeconfig=args.kubeconfig, user_agent="vramshare-agent", connections=4),
        pace=Pace(turn=args.turn, look=args.look),
        proc=Path(args.proc),
        evict=args.on_violation == EVICT,
        known=args.known,
        share=args.neighbours == SHARE,
        xid_quiet=args.xid_quiet,
        ignored_xids=frozenset(args.ignore_xid),
        metrics=MetricsSettings(host=args.metrics_host, port=args.metrics_port, hami=args.hami_metrics),
    )
