"""`vramshare doctor`: is this installation well, and what mends what is not?

One look at the cluster (`cluster`), then checks that are pure functions over it: `front` (what every pod passes),
`machines` (GPU nodes), `tenants` (pods). Nothing is written.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from allocator.api import names
from allocator.cli.doctor import front, machines, tenants
from allocator.cli.doctor.cluster import STEPS, Cluster, gather
from allocator.cli.doctor.finding import Check, Finding, Level
from allocator.cli.progress import progress
from allocator.kube import Client, KubeSettings

CHECKS: Final[Sequence[Check]] = (*front.CHECKS, *machines.CHECKS, *tenants.CHECKS)
WELL: Final = 0
SICK: Final = 1


class Doctor:
    """The subcommand. Exit code 0: nothing is broken; 1: something is, or with --strict not as it should be."""

    help = "check the installation, and say what mends it"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
        parser.add_argument("--strict", action="store_true", help="warnings count as broken in the exit code")
        parser.add_argument("--system-namespace", default=names.DEFAULT_NAMESPACE, help="vramshare's own")
        parser.add_argument("--kubeconfig", type=Path)
        parser.add_argument("--context")

    def run(self, args: argparse.Namespace) -> int:
        """Look once, and tell."""
        found = examine(asyncio.run(_look(args, datetime.now(UTC))))
        sys.stdout.write(as_json(found) if args.output == "json" else table(found))
        bad = {Level.BROKEN, Level.WARNING} if args.strict else {Level.BROKEN}
        return SICK if any(one.level in bad for one in found) else WELL


command: Final = Doctor()


async def _look(args: argparse.Namespace, now: datetime) -> Cluster:
    settings = KubeSettings(kubeconfig=args.kubeconfig, context=args.context, user_agent="vramshare-doctor")
    async with Client(settings) as client:
        with progress("looking", steps=STEPS) as step:
            return await gather(client, system=args.system_namespace, now=now, step=step)


def examine(cluster: Cluster, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """What all checks find, at least one finding each."""
    return [finding for check in checks for finding in _findings(check, cluster)]


def _findings(check: Check, cluster: Cluster) -> list[Finding]:
    hidden = [f"{name}: {cluster.unseen[name]}" for name in check.needs if name in cluster.unseen]
    if hidden:
        remedy = "run the doctor as somebody who may list this, such as a cluster administrator"
        return [Finding(check.name, Level.WARNING, f"not looked at: {'; '.join(hidden)}", remedy)]
    troubles = list(check.look(cluster))
    if not troubles:
        return [Finding(check.name, Level.OK, check.fine(cluster))]
    return [Finding(check.name, one.level, one.message, one.remedy) for one in troubles]


def table(found: Sequence[Finding]) -> str:
    """For people: a line per finding, what mends it below."""
    width = max(len(one.check) for one in found)
    lines = []
    for one in found:
        lines.append(f"{one.level.value.upper():<8} {one.check:<{width}}  {one.message}")
        if one.remedy:
            lines.append(f"{'':<8} {'':<{width}}  -> {one.remedy}")
    broken, doubtful = (sum(one.level is level for one in found) for level in (Level.BROKEN, Level.WARNING))
    lines.append("all is well" if not broken and not doubtful else f"{broken} broken, {doubtful} to look at")
    return "\n".join(lines) + "\n"


def as_json(found: Sequence[Finding]) -> str:
    """For programs."""
    well = all(one.level is not Level.BROKEN for one in found)
    return json.dumps({"well": well, "findings": [one.to_json() for one in found]}, indent=2) + "\n"
