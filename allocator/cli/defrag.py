"""`vramshare defrag`: the fewest evictions that admit a pod, or that raise the largest free slice."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from allocator.api import names
from allocator.api.errors import RequestError
from allocator.api.request import parse_pod
from allocator.cli.explain import TOLERATION, demand_of, pod_in, read
from allocator.cli.progress import progress
from allocator.core.defrag import Advice, Movable, advise
from allocator.core.demand import PodDemand
from allocator.core.fleet import Fleet
from allocator.core.listing import Listing, placed
from allocator.core.policies import Policies
from allocator.kube import BusyError, Client, KubeSettings, Outcome, evict
from allocator.kube.look import STEPS, look

_KEEP: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""What autoscalers ask, too; `false` keeps a pod where it is."""


class Defrag:
    """The subcommand. Exit code 0: done or nothing to do; 1: no evictions help."""

    help = "say which pods to move so that another fits, or do it"
    examples = (
        ("vramshare defrag -f pod.yaml", "which evictions would let this pod in; nothing is done"),
        ("vramshare defrag --apply", "evict what raises the largest free slice, within disruption budgets"),
    )
    exits = ((0, "done, or nothing to do"), (1, "no evictions help"))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("-f", "--filename", help="the pod to admit; without: raise the largest free slice")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--dry-run", action="store_true", help="only say what would be done (the default)")
        how.add_argument("--apply", action="store_true", help="evict the pods; disruption budgets are respected")
        parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
        parser.add_argument("--system-namespace", default=names.DEFAULT_NAMESPACE, help="vramshare's own")
        parser.add_argument("--kubeconfig", type=Path)
        parser.add_argument("--context")

    def run(self, args: argparse.Namespace) -> int:
        """Look at the cluster once, advise, and evict if told to."""
        found = asyncio.run(_work(args, datetime.now(UTC)))
        sys.stdout.write(json.dumps(_plain(found), indent=2) + "\n" if args.output == "json" else table(found))
        return 0 if found is not None else 1


command = Defrag()


async def _work(args: argparse.Namespace, now: datetime) -> Advice | None:
    settings = KubeSettings(kubeconfig=args.kubeconfig, context=args.context, user_agent="vramshare-defrag")
    async with Client(settings) as client:
        with progress("reading the cluster", steps=STEPS) as begin:
            listing = await look(client, args.system_namespace, step=begin)
        wanted = await demand_of(client, pod_in(read(args.filename))) if args.filename else None
        fleet = listing.fleet(now=now)
        found = advise(fleet, movable_in(listing, fleet), Policies().named(None), wanted=wanted)
        if found is not None and args.apply:
            for step in found.steps:
                done = await evict(client, namespace=step.namespace, name=step.pod, uid=step.uid)
                if done is Outcome.LATER:
                    raise BusyError(f"{step.namespace}/{step.pod}: a disruption budget forbids its eviction now")
    return found


def movable_in(listing: Listing, fleet: Fleet) -> list[Movable]:
    """Granted pods that a controller makes anew and that nobody asks to keep."""
    grants = {key: grant for node in fleet.nodes() for key, grant in node.ledger.items()}
    found = []
    for pod in listing.pods:
        metadata = pod.get("metadata") or {}
        on_node = placed(pod)
        owned = any(one.get("controller") for one in metadata.get("ownerReferences") or ())
        kept = (metadata.get("annotations") or {}).get(_KEEP) == "false"
        if on_node is None or on_node.allocation_id not in grants or not owned or kept:
            continue
        demand = _demand(pod)
        if demand is not None:
            found.append(Movable(grant=grants[on_node.allocation_id], demand=demand, pod=on_node))
    return found


def _demand(pod: Mapping[str, Any]) -> PodDemand | None:
    """What the pod would ask when it comes back: without its node and without our pin."""
    spec = {key: value for key, value in (pod.get("spec") or {}).items() if key not in {"nodeName", "affinity"}}
    if affinity := _unpinned((pod.get("spec") or {}).get("affinity")):
        spec["affinity"] = affinity
    try:
        request = parse_pod(pod)
    except RequestError:
        return None
    if request is None:
        return None
    return PodDemand.from_pod({**pod, "spec": spec}, request, tolerations=(TOLERATION,))


def _unpinned(affinity: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A required node affinity without the pin on one node's name."""
    required = ((affinity or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [
        {"matchExpressions": one["matchExpressions"]}
        for one in required.get("nodeSelectorTerms") or ()
        if one.get("matchExpressions")
    ]
    if not terms:
        return {}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def table(found: Advice | None) -> str:
    """The advice for a person."""
    if found is None:
        return "no eviction of up to three pods helps: each evicted pod must fit elsewhere\n"
    if not found.steps:
        return f"nothing to move: it fits on {found.node}\n"
    lines = [f"evict   {one.namespace}/{one.pod}   from {one.node}   fits on {one.to}" for one in found.steps]
    gain = f"largest free slice {found.largest_before.rounded()} -> {found.largest_after.rounded()} before it is used"
    return "\n".join([*lines, f"makes room on {found.node}; {gain}"]) + "\n"


def _plain(found: Advice | None) -> dict[str, Any]:
    if found is None:
        return {"helps": False, "evictions": []}
    return {
        "helps": True,
        "evictions": [
            {"namespace": one.namespace, "pod": one.pod, "node": one.node, "fits_on": one.to} for one in found.steps
        ],
        "node": found.node,
        "largest_free_before": str(found.largest_before),
        "largest_free_after": str(found.largest_after),
    }
