"""vramshare on one machine: two workers share a GPU, a third meets the wall, a fourth is told why it must wait.

Every command is printed before its output, and every claim is checked. The GPUs are simulated unless this machine
has one: a stand-in for NVIDIA's driver keeps real books of memory and computes nothing. Everything else is the
product: webhook, allocator, agents, the interposer in every container.
"""

import argparse
import signal
import sys
import time
from functools import partial
from pathlib import Path

from demo_folder import Workspace, asked_path, played
from demo_install import TEAM
from demo_show import DemoError
from demo_stage import Stage, set_up
from demo_story import tell


def main() -> int:
    """Play the demo; the process' exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the story; exit code 0 only if every claim held")
    parser.add_argument("--kubeconfig", type=asked_path, help="play on this control plane instead of the embedded one")
    parser.add_argument("--dir", type=asked_path, help="the demo's folder, kept; default: a temporary one")
    args = parser.parse_args()
    if args.kubeconfig and not args.kubeconfig.is_file():
        parser.error(f"--kubeconfig {args.kubeconfig}: there is no such file")
    catch_signals()
    return played(args.dir, prefix="vramshare-demo-", what="The demo", play=partial(_all, args))


def _all(args: argparse.Namespace, space: Workspace) -> int:
    """The demo in its folder."""
    started = time.monotonic()
    with set_up(space.path, given=args.kubeconfig) as stage:
        _play(stage)
        code = _sum_up(stage, seconds=time.monotonic() - started)
        space.kept = space.kept or bool(code)
        if not args.once:
            _stay(stage)
    return code


def catch_signals() -> None:
    """End in order on Ctrl-C, SIGTERM and a closed terminal.

    A second signal must not cut the clean-up short, so it is ignored; so is what was ignored before, as by nohup.
    """
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, _frame: object) -> None:
        for one in ends:
            signal.signal(one, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for one in ends:
        if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN:
            signal.signal(one, end)


def _play(stage: Stage) -> None:
    """Tell the story; where it stops in the middle, show what there is to see."""
    try:
        tell(stage)
    except DemoError:
        stage.show.title("It stops here. What the cluster says:")
        for command in ("get pods -o wide", "get events", "logs -l app --tail=20 --prefix", "describe pods"):
            stage.show.look(f"kubectl -n {TEAM} {command}")
        raise


def _sum_up(stage: Stage, *, seconds: float) -> int:
    show = stage.show
    show.title(f"{show.held} claims held, {len(show.failed)} failed, {len(show.skipped)} skipped, {seconds:.0f} s")
    for text in show.failed:
        show.say(f"failed: {text}")
    if show.failed:
        show.say(f"logs: {stage.folder}/logs")
    return 1 if show.failed else 0


def _stay(stage: Stage) -> None:
    """Leave everything running until Ctrl-C."""
    stage.show.say("Everything goes on running. In another terminal:")
    stage.show.say("")
    stage.show.say(f"  export KUBECONFIG={stage.kubeconfig}")
    stage.show.say(f'  export PATH="{Path(sys.executable).parent}:$PATH"')
    stage.show.say("  kubectl -n team get pods")
    stage.show.say("  kubectl -n team describe pod -l app=worker-a")
    stage.show.say("")
    stage.show.say("Ctrl-C ends it.")
    while stage.processes.check():
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
