"""`vramshare top`: what each container uses of its slice, now; of the cluster, or of this node alone.

On a node it reads files alone: no API server, no driver, no rights beyond reading the kubelet's folder. It does so
where it is told a folder, or where no cluster is known.
"""

import argparse
import asyncio
import json
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.live import Live

from allocator.agent.kubelet import kubelet_folder
from allocator.agent.top_keys import keys
from allocator.agent.top_rows import HEADER, SORTS, Reading, chosen, read, rows, table
from allocator.agent.top_screen import LISTS, Choice, Shown, screen
from allocator.agent.top_sources import Cluster, Node, Source
from allocator.api import names
from allocator.api.errors import VramshareError
from allocator.kube import Client, KubeSettings

__all__ = ["HEADER", "Reading", "TopCommand", "command", "read", "rows", "table"]

_KUBECONFIG: Final = Path(".kube/config")


class TopCommand:
    """The subcommand."""

    help = "show what each container uses of its slice, live"
    examples = (
        ("vramshare top", "the cluster, or this node where no cluster is known"),
        ("vramshare top --local", "this node, from its files alone"),
        ("vramshare top --once --sort share", "one table, the fullest slices first"),
        ("vramshare top team-a trainer", "only what has these words"),
        ("vramshare top --once -o json", "for scripts"),
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say."""
        parser.add_argument("words", nargs="*", help="only rows with all these words: node, pod, container or GPU")
        parser.add_argument("--once", action="store_true", help="print one table and end; the default off a terminal")
        parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="of --once")
        parser.add_argument("--sort", choices=tuple(SORTS), default="pod", help="order of the rows")
        parser.add_argument("--reverse", action="store_true", help="the other way round")
        parser.add_argument("--list", choices=LISTS, default=LISTS[0], help="which list comes first, at a terminal")
        parser.add_argument("--every", type=float, metavar="SECONDS", help="time between two looks; default: 2, or 5")
        parser.add_argument(
            "--sample", type=float, default=0.5, metavar="SECONDS", help="time that rates of the first table are of"
        )
        node = parser.add_argument_group("this node alone")
        node.add_argument("--local", action="store_true", help="read this node's files, ask no API server")
        node.add_argument("--host-root", type=Path, help="where the node's file system is; implies --local")
        node.add_argument("--kubelet-dir", type=Path, help="the kubelet's folder; implies --local")
        reach = parser.add_argument_group("cluster")
        reach.add_argument("--kubeconfig", type=Path, help="default: KUBECONFIG, else ~/.kube/config")
        reach.add_argument("--context", help="of the kubeconfig; default: its current one")
        reach.add_argument("--system-namespace", default=names.DEFAULT_NAMESPACE, help="vramshare's own")

    def run(self, args: argparse.Namespace) -> int:
        """Show it until told to stop, or once."""
        return asyncio.run(_run(args, local=is_local(args, os.environ, home=Path.home())))


command: Final = TopCommand()


def is_local(args: argparse.Namespace, environ: Mapping[str, str], *, home: Path) -> bool:
    """Whether to read files: told so, or no cluster is known."""
    if args.local or args.host_root or args.kubelet_dir:
        return True
    known = args.kubeconfig or environ.get("KUBECONFIG") or environ.get("KUBERNETES_SERVICE_HOST")
    return not (known or (home / _KUBECONFIG).is_file())


async def _run(args: argparse.Namespace, *, local: bool) -> int:
    async with _source(args, local=local) as source:
        if args.once or args.output == "json" or not (sys.stdout.isatty() and sys.stdin.isatty()):
            await source.look()
            await asyncio.sleep(args.sample)
            sys.stdout.write(once(await source.look(), args))
            return 0
        await _watch(source, args, every=args.every or (2.0 if local else 5.0))
    return 0


@asynccontextmanager
async def _source(args: argparse.Namespace, *, local: bool) -> AsyncIterator[Source]:
    if not local:
        settings = KubeSettings(kubeconfig=args.kubeconfig, context=args.context, user_agent="vramshare-top")
        async with Client(settings) as client:
            yield Cluster(client, args.system_namespace)
        return
    root = args.host_root or Path("/")
    kubelet: Path | None = args.kubelet_dir or kubelet_folder(root)
    if args.kubelet_dir and not (args.kubelet_dir / "pods").is_dir():
        raise VramshareError(f"--kubelet-dir {args.kubelet_dir}: no kubelet's folder, it has no pods folder in it")
    if kubelet is None:
        raise VramshareError(f"no kubelet folder under {root}; name it with --kubelet-dir, or a cluster: --kubeconfig")
    yield Node(kubelet, root)


def once(shown: Shown, args: argparse.Namespace) -> str:
    """One table, or all that is known as JSON."""
    found = chosen(shown.rows, words=args.words, sort=args.sort, backwards=args.reverse)
    if args.output == "json":
        said = {
            "slices": [row.to_json() for row in found],
            "nodes": [node.to_json() for node in shown.nodes],
            "queue": [one.to_json() for one in shown.queue],
            "remarks": list(shown.remarks),
        }
        return json.dumps(said, indent=2) + "\n"
    return "\n".join([*table(found), *(f"! {one}" for one in shown.remarks)]) + "\n"


async def _watch(source: Source, args: argparse.Namespace, *, every: float) -> None:
    """The screen, until `q`."""
    console = Console(highlight=False)
    choice = Choice(what=args.list, sort=args.sort, backwards=args.reverse, filter=" ".join(args.words))
    pressed: asyncio.Queue[str] = asyncio.Queue()
    with _reading_keys(pressed), Live(console=console, screen=True, auto_refresh=False) as live:
        loop = asyncio.get_running_loop()
        shown, due = await source.look(), loop.time() + min(every, max(args.sample, 0.1))
        while True:
            lines = screen(shown, choice, width=console.width, height=console.height)
            live.update(Group(*lines), refresh=True)
            try:
                async with asyncio.timeout_at(due):
                    key = await pressed.get()
            except TimeoutError:
                shown, due = await source.look(), loop.time() + max(0.1, every)
                continue
            if key == "q" and not choice.typing:
                return
            choice = choice.pressed(key, page=max(1, console.height - 6))


@contextmanager
def _reading_keys(pressed: "asyncio.Queue[str]") -> Iterator[None]:
    """Keys as they are pressed, unseen; the terminal is given back as it was."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def take() -> None:
        for key in keys(os.read(descriptor, 64)):
            pressed.put_nowait(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, take)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
