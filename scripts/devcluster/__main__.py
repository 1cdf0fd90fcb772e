"""``python -m devcluster up``: a cluster in the foreground. ``clean``: remove the mounts that a killed one left."""

import argparse
import asyncio
import logging
import pathlib
import signal
import sys

from devcluster.cluster import Cluster
from devcluster.kubelet.leftovers import clear_mounts
from devcluster.kubelet.plan import NAMESPACES, PROCESS, USER_NAMESPACES
from devcluster.nodes import read_nodes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    parser.set_defaults(verbose=False)
    commands = parser.add_subparsers(dest="command", required=True)
    clean = commands.add_parser("clean", help="unmount what a killed cluster left, so that its folder can be removed")
    clean.add_argument("--dir", required=True, help="folder of the cluster")
    up = commands.add_parser("up", help="run a cluster until SIGTERM")
    up.add_argument("--dir", required=True, help="folder of the cluster; DIR/kubeconfig is written there")
    up.add_argument("--nodes", type=pathlib.Path, help="nodes.yaml; default: three nodes without GPUs")
    up.add_argument("--port", type=int, default=0, help="port of the API server on loopback; default: a free one")
    up.add_argument(
        "--isolation",
        default="",
        choices=[NAMESPACES, USER_NAMESPACES, PROCESS],
        help="default: the strongest that works",
    )
    up.add_argument(
        "--volume-refresh",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how late changed annotations reach downwardAPI volumes; default: at once",
    )
    up.add_argument("--rbac", action="store_true", help="let service accounts do only what their roles allow")
    up.add_argument("--verbose", action="store_true", help="log on stderr what the components do")
    return parser


async def _up(arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    nodes = read_nodes(arguments.nodes) if arguments.nodes else None
    async with Cluster(
        dir=arguments.dir,
        nodes=nodes,
        port=arguments.port,
        isolation=arguments.isolation,
        volume_refresh=arguments.volume_refresh,
        enforce_rbac=arguments.rbac,
    ) as cluster:
        print(f"ready {cluster.url}", flush=True)
        await stopped.wait()


def main() -> int:
    """Run the command line; return the exit status."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, stream=sys.stderr)
    try:
        if arguments.command == "clean":
            clear_mounts(str(pathlib.Path(arguments.dir).resolve()))
        else:
            asyncio.run(_up(arguments))
    except (OSError, ValueError) as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
