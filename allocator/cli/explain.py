"""`vramshare explain`: where a pod would go and why not elsewhere, without creating it."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from allocator.api import names
from allocator.api.errors import RequestError, VramshareError
from allocator.api.request import parse_pod
from allocator.cli.given import read_given
from allocator.cli.progress import progress
from allocator.core.demand import PodDemand
from allocator.core.explain import Explanation, explain
from allocator.core.filters import Toleration
from allocator.core.policies import Policies
from allocator.kube import PODS, RUNTIME_CLASSES, Client, KubeSettings, NotFoundError
from allocator.kube.look import STEPS, look

FITS: Final = 0
FITS_NOT: Final = 1
_SHOWN: Final = 5
"""Nodes named per reason in the table; JSON names all."""
TOLERATION: Final = Toleration(key=names.GPU_TAINT, operator="Exists", effect="NoSchedule")
"""What the webhook adds."""


class Explain:
    """The subcommand. Exit code 0: it fits; 1: it does not."""

    help = "say where a pod would go and why not elsewhere"
    examples = (
        ("vramshare explain -f pod.yaml", "a pod that does not exist yet; nothing is created"),
        ("vramshare explain -n team waiting-pod", "why a queued pod waits, node by node"),
    )
    exits = ((FITS, "it fits"), (FITS_NOT, "it fits nowhere now"))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("-f", "--filename", help="a Pod, or a workload with a pod template, YAML or JSON; -: stdin")
        which.add_argument("pod", nargs="?", help="a pod in the cluster, such as a queued one")
        parser.add_argument("-n", "--namespace", default="default", help="of the pod")
        parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
        parser.add_argument("--policy", help="ask this policy instead of the pod's or the default one")
        parser.add_argument("--system-namespace", default=names.DEFAULT_NAMESPACE, help="vramshare's own")
        parser.add_argument("--kubeconfig", type=Path)
        parser.add_argument("--context")

    def run(self, args: argparse.Namespace) -> int:
        """Look at the cluster once, and answer."""
        found = asyncio.run(_answer(args, datetime.now(UTC)))
        sys.stdout.write(json.dumps(found.to_json(), indent=2) + "\n" if args.output == "json" else table(found))
        return FITS if found.node else FITS_NOT


command = Explain()


async def _answer(args: argparse.Namespace, now: datetime) -> Explanation:
    settings = KubeSettings(kubeconfig=args.kubeconfig, context=args.context, user_agent="vramshare-explain")
    async with Client(settings) as client:
        if args.pod:
            pod: Mapping[str, Any] = await client.get(PODS, args.pod, namespace=args.namespace)
        else:
            pod = pod_in(read(args.filename))
        demand = await demand_of(client, pod)
        with progress("reading the cluster", steps=STEPS) as step:
            listing = await look(client, args.system_namespace, step=step)
    return explain(listing.fleet(now=now), demand, Policies().named(args.policy or demand.policy))


async def demand_of(client: Client, pod: Mapping[str, Any]) -> PodDemand:
    """What a pod asks, its RuntimeClass included."""
    request = parse_pod(pod)
    if request is None:
        raise VramshareError("the pod asks for no GPU: any node will do, and vramshare has no say in it")
    return PodDemand.from_pod(pod, request, runtime=await _runtime(client, pod), tolerations=(TOLERATION,))


def pod_in(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The Pod of a document: itself, or the template of a Deployment, Job, CronJob and their like."""
    spec = document.get("spec") or {}
    if "jobTemplate" in spec:
        return pod_in(spec["jobTemplate"])
    if "template" in spec:
        return dict(spec["template"])
    if "containers" not in spec:
        raise RequestError(
            where="kind",
            value=document.get("kind", ""),
            problem="has no pod in it",
            remedy="give a Pod, a Deployment, a Job or another workload with a pod template",
        )
    return document


def table(found: Explanation) -> str:
    """The answer for a person."""
    lines = []
    if found.node:
        more = f"; {found.alternatives} more would fit" if found.alternatives else "; no other fits"
        lines.append(f"fits on {found.node} (policy {found.policy}, score {found.score:.4g}{more})")
        lines += [
            f"  {container}: {one.uuid} memory={one.memory} cores={one.cores or 'uncapped'}"
            for container, slices in found.containers.items()
            for one in slices
        ]
    else:
        lines.append(f"fits nowhere now: {found.summary}")
    if found.shortfalls:
        lines.append("NODES  WHY NOT")
    for one in found.shortfalls:
        named = ", ".join(one.nodes[:_SHOWN]) + (", …" if len(one.nodes) > _SHOWN else "")
        lines.append(f"{len(one.nodes):>5}  {one.reason} ({named})")
    return "\n".join(lines) + "\n"


def read(name: str) -> Mapping[str, Any]:
    """The one object of a file; `-` is standard input."""
    text = read_given(name)
    try:
        documents = [one for one in yaml.safe_load_all(text) if one]
    except yaml.YAMLError as reason:
        raise VramshareError(f"{name}: {reason}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise VramshareError(f"{name}: holds {len(documents)} objects; explain takes one at a time")
    return documents[0]


async def _runtime(client: Client, pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    name = (pod.get("spec") or {}).get("runtimeClassName")
    if not name:
        return None
    try:
        return await client.get(RUNTIME_CLASSES, name)
    except NotFoundError:
        raise VramshareError(f"the pod's RuntimeClass {name} does not exist") from None
