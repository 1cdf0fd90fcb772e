"""The packing benchmark's command line; see docs/packing.md."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from openb import arrivals, read_nodes, read_pods
from packing_churn import churn
from packing_run import run

from allocator.core.policies import Policies


def seeds(text: str) -> list[int]:
    """Read `42-51` or `42,43`."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        found.extend(range(int(low), int(high if dash else low) + 1))
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Exit code 1 if a pod was refused that would have fitted."""
    parser = argparse.ArgumentParser(prog="bench-packing", description="Pack a GPU-sharing trace, openb format.")
    parser.add_argument("--nodes", type=Path, required=True, help="node list: sn,cpu_milli,memory_mib,gpu,model")
    parser.add_argument("--pods", type=Path, required=True, help="pod list: name,cpu_milli,memory_mib,num_gpu,…")
    parser.add_argument("--policy", default="foresight", choices=Policies().names())
    parser.add_argument("--seeds", type=seeds, default=seeds("42-51"), help="such as 42-51 or 42,43")
    parser.add_argument("--times", type=int, default=1, help="the node list so many times over")
    parser.add_argument("--until", type=int, default=130, help="demand in percent of the cluster's GPUs")
    parser.add_argument(
        "--churn",
        action="store_true",
        help="pods end as long after as in the trace, and queue; --until is what they ask for at once",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    results = [_one(arguments, seed) for seed in arguments.seeds]
    summary = {
        "policy": arguments.policy,
        "pods": arguments.pods.name,
        "seeds": arguments.seeds,
        "mean": _over(results, spread=False),
        "sd": _over(results, spread=True),
    }
    if arguments.json:
        print(json.dumps({**summary, "runs": results}, indent=1))
    else:
        _show(summary)
    wrong = sum(one.get("refused_wrongly", 0) for one in results)
    if wrong:
        print(f"{wrong} pods were refused that would have fitted", file=sys.stderr)
    return 1 if wrong else 0


def _one(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One seed's figures. The policy is made anew, so that nothing learnt in one run helps the next."""
    nodes = read_nodes(arguments.nodes)
    many = [
        type(node)(**{name: getattr(node, name) for name in node.__slots__} | {"name": f"{node.name}-{copy}"})
        for copy in range(arguments.times)
        for node in nodes
    ]
    pods = read_pods(arguments.pods)
    capacity = 1000 * sum(node.gpus for node in many)
    policy = Policies().named(arguments.policy)
    drawn = arrivals(pods, seed=seed, until=capacity * arguments.until // 100)
    if not arguments.churn:
        return run(many, drawn, policy).figures()
    if not any(pod.ended for pod in pods):
        raise SystemExit(f"{arguments.pods}: has no creation_time and deletion_time: --churn needs them")
    timeline, times = churn(many, drawn, policy, load=capacity * arguments.until // 100, seed=seed)
    return {**timeline.figures(), "decisions_per_s": len(times) / sum(times)}


def _over(results: list[dict[str, Any]], *, spread: bool) -> dict[str, Any]:
    """Mean or standard deviation of each figure over the seeds; of a list of figures, each by itself."""
    folded = {}
    for name in results[0]:
        values = np.asarray([one[name] for one in results], dtype=float)
        if spread:
            folded[name] = values.std(axis=0, ddof=1 if len(results) > 1 else 0).tolist()
        else:
            folded[name] = values.mean(axis=0).tolist()
    return folded


def _show(summary: dict[str, Any]) -> None:
    print(f"{summary['policy']} on {summary['pods']}, seeds {summary['seeds'][0]}-{summary['seeds'][-1]}")
    for name, mean in summary["mean"].items():
        if isinstance(mean, list):
            print(f"  {name:20} {'  '.join(f'{value:.1f}' for value in mean)}")
        else:
            print(f"  {name:20} {mean:12.3f}   sd {summary['sd'][name]:.3f}")


if __name__ == "__main__":
    sys.exit(main())
