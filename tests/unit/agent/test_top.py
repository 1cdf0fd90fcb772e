"""`vramshare top`: rows from agents' metrics, order and filter, the screen, keys, and the program at a terminal."""

import argparse
import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from page_fleet import ShownFleet
from prometheus_client import generate_latest

from allocator.agent.metrics import agent_registry
from allocator.agent.sample import ContainerSample, Latest, Sample, SliceSample
from allocator.agent.top import command, is_local, once
from allocator.agent.top_cluster import PORT, Uses, ask, parsed, remarks, rows
from allocator.agent.top_keys import keys
from allocator.agent.top_rows import SORTS, Row, chosen, table
from allocator.agent.top_screen import LISTS, Choice, Shown, screen
from allocator.core.picture import NodePicture, picture
from allocator.kube.errors import KubeError
from tests.unit.agent.test_kubelet import root

__all__ = ["root"]
MIB = 1 << 20
GPU = "GPU-n1-0"


def told(*, used: int, time_used: float, throttled: float = 0.0) -> str:
    """What an agent's metrics say of team-a/first."""
    part = SliceSample(
        uuid=GPU,
        limit=4096 * MIB,
        used=used * MIB,
        peak=2 * used * MIB,
        refused=3,
        cores=0.25,
        time_used=time_used,
        throttled=throttled,
    )
    one = ContainerSample(namespace="team-a", pod="first", uid="u", container="worker", slices=(part,), processes=2)
    sample = Sample(node="n1", at=datetime(2026, 1, 1, tzinfo=UTC), containers=(one,))
    return generate_latest(agent_registry(Latest(sample))).decode()


@pytest.fixture
def nodes() -> tuple[NodePicture, ...]:
    """Two nodes, three slices."""
    shown = ShownFleet(Random(1))
    shown.add_node("n1", gpus=2)
    shown.add_node("n2", gpus=2)
    shown.hold("n1", gpu=0, gib=4, cores=25, space="team-a", pod="first")
    shown.hold("n1", gpu=1, gib=2, space="team-b", pod="second")
    shown.hold("n2", gpu=0, gib=8, space="team-a", pod="third")
    return picture(shown.fleet, ()).nodes


def test_grants_and_the_agents_figures_make_rows(nodes: tuple[NodePicture, ...]) -> None:
    """Rates are of the time between two looks; where no agent told, the grant stands alone."""
    before = Uses(nodes={"n1": parsed(told(used=900, time_used=10.0, throttled=4.0), at=100.0)})
    now = Uses(nodes={"n1": parsed(told(used=1000, time_used=11.2, throttled=7.0), at=105.0)})
    first, second, third = rows(nodes, now, before)
    assert (first.pod, first.limit, first.cap) == ("team-a/first", 4096 * MIB, 25)
    assert (first.used, first.peak, first.refused, first.processes) == (1000 * MIB, 2000 * MIB, 3, 2)
    assert (first.time, first.waited) == (pytest.approx(24.0), pytest.approx(60.0))
    assert (second.used, third.used) == (None, None)


def test_one_look_tells_no_rate(nodes: tuple[NodePicture, ...]) -> None:
    """And a counter that began anew does not run backwards."""
    now = Uses(nodes={"n1": parsed(told(used=1, time_used=1.0), at=5.0)})
    assert rows(nodes, now, Uses())[0].time is None
    before = Uses(nodes={"n1": parsed(told(used=1, time_used=9.0), at=1.0)})
    assert rows(nodes, now, before)[0].time == 0.0


def test_says_what_is_missing(nodes: tuple[NodePicture, ...]) -> None:
    """One remark per reason, with the first nodes that have it."""
    silent = {f"n{number}": "forbidden" for number in range(5)}
    assert remarks(nodes, Uses(silent=silent)) == ["no live use from n0, n1, n2, …: forbidden"]
    assert "top --local" in remarks(nodes, Uses())[0]
    assert remarks(nodes, Uses(nodes={"n1": parsed("", at=0)})) == []


class Proxy:
    """An API server with agents' pods, one of which may not be asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def list(self, *_: Any, **__: Any) -> tuple[list[dict], str]:
        """Two agents, one pod without the port."""
        port = [{"name": PORT, "containerPort": 9444}]
        return [
            {"metadata": {"name": f"agent-{node}"}, "spec": {"nodeName": node, "containers": [{"ports": ports}]}}
            for node, ports in (("n1", port), ("n2", port), ("n3", []))
        ], "1"

    async def text(self, path: str) -> str:
        """The metrics of n1."""
        self.asked.append(path)
        if "agent-n1" in path:
            return told(used=7, time_used=0)
        raise KubeError("pods/proxy: forbidden")


async def test_agents_are_asked_through_the_api_server() -> None:
    """By the port that their pod names; what one does not tell does not keep the others."""
    proxy = Proxy()
    found = await ask(proxy, "sys", now=1.0)
    assert "/api/v1/namespaces/sys/pods/agent-n1:9444/proxy/metrics" in proxy.asked
    assert found.nodes["n1"].slices["team-a", "first", "worker", GPU]["memory_used_bytes"] == 7 * MIB
    assert "forbidden" in found.silent["n2"]
    assert "no port named" in found.silent["n3"]


def sample_rows() -> list[Row]:
    """Three slices in different states."""
    one = Row(node="n1", pod="a/x", container="c", gpu="GPU-1", limit=1000, used=100, time=5.0)
    return [
        one,
        replace(one, pod="a/y", used=900, refused=7),
        replace(one, node="n2", pod="b/z", limit=5000, used=None, time=90.0),
    ]


@pytest.mark.parametrize(
    ("sort", "first"),
    [("pod", "a/x"), ("used", "a/y"), ("limit", "b/z"), ("share", "a/y"), ("time", "b/z"), ("refused", "a/y")],
)
def test_the_most_interesting_comes_first(sort: str, first: str) -> None:
    """In every order but that of names; unknown figures come last."""
    assert chosen(sample_rows(), sort=sort)[0].pod == first
    assert chosen(sample_rows(), sort=sort, backwards=True)[-1].pod == first


def test_words_filter_rows() -> None:
    """All must occur, in any column that names something."""
    assert [row.pod for row in chosen(sample_rows(), words=["N1", "a/"])] == ["a/x", "a/y"]
    assert chosen(sample_rows(), words=["n1", "b/z"]) == []


def test_the_table_of_a_cluster_names_the_nodes() -> None:
    """And leaves open what is not known."""
    lines = table(sample_rows())
    assert lines[0].split()[:2] == ["NODE", "POD"]
    assert lines[3].split()[:6] == ["n2", "b/z", "c", "GPU-1", "-", "0Mi"]


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.parametrize(("width", "height"), [(200, 50), (80, 24), (40, 8)])
def test_the_screen_fits_the_terminal(nodes: tuple[NodePicture, ...], what: str, width: int, height: int) -> None:
    """Every list, on every size: no line too long, none too many, the status at the bottom."""
    shown = Shown(where="2 nodes", rows=sample_rows() * 30, nodes=nodes, remarks=["something is missing"])
    lines = screen(shown, Choice(what=what), width=width, height=height)
    assert len(lines) == height
    assert all(line.cell_len <= width for line in lines)
    assert lines[-1].plain.startswith(what[:10])


def test_the_screen_shows_sums_and_bars(nodes: tuple[NodePicture, ...]) -> None:
    """Used of granted, granted of all; the bar is told in characters as well as in colour."""
    shown = Shown(where="2 nodes", rows=sample_rows(), nodes=nodes)
    text = "\n".join(line.plain for line in screen(shown, Choice(), width=200, height=20))
    assert "2 nodes  3 pods, 0 waiting" in text
    assert "granted of all [####            ] 14Gi/62Gi" in text
    assert "[##              ]" in text


def test_keys_choose() -> None:
    """List, order, direction, scrolling, and a filter that is typed."""
    choice = Choice()
    for key in ["v", "v", "s", "r", "down", "down", "up", "/", *"abq", "backspace", "enter"]:
        choice = choice.pressed(key, page=10)
    assert choice == Choice(what="nodes", sort=tuple(SORTS)[1], backwards=True, filter="ab")
    assert choice.pressed("/", page=1).pressed("x", page=1).pressed("escape", page=1).filter == ""
    assert Choice(first=3).pressed("pageup", page=10).first == 0


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[200~x", ["x"]),
        ("ü/".encode(), ["ü", "/"]),
        (b"\xff\xffz", ["z"]),
        (b"\r\x7f", ["enter", "backspace"]),
    ],
)
def test_bytes_become_keys(raw: bytes, expected: list[str]) -> None:
    """Unknown sequences and broken text are passed over."""
    assert keys(raw) == expected


@pytest.mark.parametrize(
    ("argv", "environ", "local"),
    [
        ([], {}, True),
        ([], {"KUBECONFIG": "x"}, False),
        ([], {"KUBERNETES_SERVICE_HOST": "x"}, False),
        (["--kubeconfig", "x"], {}, False),
        (["--local"], {"KUBECONFIG": "x"}, True),
        (["--host-root", "/host"], {"KUBERNETES_SERVICE_HOST": "x"}, True),
    ],
)
def test_the_cluster_if_one_is_known(tmp_path: Path, argv: list[str], environ: dict[str, str], *, local: bool) -> None:
    """Unless a folder is named."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert is_local(parser.parse_args(argv), environ, home=tmp_path) is local


def test_json_has_all_of_it(nodes: tuple[NodePicture, ...]) -> None:
    """Rows as filtered and ordered, nodes, the queue, remarks."""
    args = argparse.Namespace(words=["a/"], sort="share", reverse=False, output="json")
    said = json.loads(once(Shown(where="", rows=sample_rows(), nodes=nodes, remarks=["x"]), args))
    assert [row["pod"] for row in said["slices"]] == ["a/y", "a/x"]
    assert len(said["nodes"]) == 2
    assert said["remarks"] == ["x"]


def test_at_a_terminal_it_is_live_and_q_gives_the_terminal_back(root: Path) -> None:
    """The program itself, on a pseudo terminal: a bar is drawn, a key changes the list, `q` ends it with 0."""
    ours, theirs = pty.openpty()
    program = Path(sys.executable).with_name("vramshare")
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "24"}
    process = subprocess.Popen(  # noqa: S603 - our own program
        [program, "top", "--host-root", root], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    try:
        assert b"team/worker-1" in until(ours, b"team/worker-1")
        os.write(ours, b"v")
        until(ours, b"gpus, by pod")
        os.write(ours, b"q")
        assert b"\x1b[?1049l" in until(ours, b"\x1b[?1049l")  # back from the alternate screen
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def until(descriptor: int, wanted: bytes) -> bytes:
    """What the terminal shows until something appears."""
    shown, end = b"", time.monotonic() + 60
    while wanted not in shown and time.monotonic() < end:
        if select.select([descriptor], [], [], 1)[0]:
            with contextlib.suppress(OSError):
                shown += os.read(descriptor, 1 << 16)
    assert wanted in shown, shown[-2000:]
    return shown
