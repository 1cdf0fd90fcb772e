"""The arguments by which subcommands reach a cluster, and one look at it with progress shown."""

import argparse
from datetime import datetime
from pathlib import Path

from allocator.api import names
from allocator.cli.progress import progress
from allocator.core.listing import Listing
from allocator.core.picture import Picture, picture
from allocator.core.queue import Waiting, in_order
from allocator.kube import Client, KubeSettings
from allocator.kube.look import STEPS, look


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    reach = parser.add_argument_group("cluster")
    reach.add_argument("--kubeconfig", type=Path, help="default: as kubectl, KUBECONFIG, else ~/.kube/config")
    reach.add_argument("--context", help="of the kubeconfig; default: its current one")
    reach.add_argument("--system-namespace", default=names.DEFAULT_NAMESPACE, help="vramshare's own")


def settings_of(args: argparse.Namespace, *, what: str) -> KubeSettings:
    """How to reach the cluster that the arguments name; `what` tells the API server's log who asks."""
    return KubeSettings(kubeconfig=args.kubeconfig, context=args.context, user_agent=f"vramshare-{what}")


async def see(args: argparse.Namespace, *, what: str, now: datetime) -> Picture:
    """The cluster's GPUs and queue."""
    async with Client(settings_of(args, what=what)) as client:
        with progress("reading the cluster", steps=STEPS) as step:
            listing = await look(client, args.system_namespace, step=step)
    return draw(listing, now=now)


def draw(listing: Listing, *, now: datetime) -> Picture:
    """The picture of what was listed."""
    waiting = [found for pod in listing.pods if (found := Waiting.of(pod)) is not None]
    return picture(listing.fleet(now=now), in_order(waiting))
