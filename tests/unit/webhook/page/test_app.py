"""The page over HTTP: what it serves, to whom, and how a browser follows."""

import json
from collections.abc import AsyncIterator
from random import Random

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from page_fleet import ShownFleet

from webhook.page.app import HEADERS, create_page
from webhook.page.feed import KEPT, Feed
from webhook.page.hosts import called_rightly


@pytest.fixture
def shown() -> ShownFleet:
    """Two GPUs, one slice."""
    made = ShownFleet(Random(1))
    made.add_node("n1", gpus=2)
    made.hold("n1", gpu=0, gib=4, pod="first")
    return made


@pytest.fixture
def feed(shown: ShownFleet) -> Feed:
    """The feed, driven by the test."""
    return Feed(shown, now=lambda: 1000.0)


@pytest.fixture
async def client(feed: Feed) -> AsyncIterator[TestClient]:
    """A client of the page."""
    async with TestClient(TestServer(create_page(feed, names=("gpus.example",)))) as made:
        yield made


async def told(answer: aiohttp.ClientResponse) -> dict:
    """The next difference of a stream."""
    while not (line := (await answer.content.readline()).strip()).startswith(b"data: {"):
        pass
    return json.loads(line.removeprefix(b"data: "))


async def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    """Files, JSON, streams and refusals alike: no script but ours, no frame, no cache."""
    await client.get("/board")
    for path in ("/", "/page.js", "/page.css", "/board", "/changes?since=0", "/changes?since=x", "/nowhere"):
        async with client.get(path) as answer:
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


async def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    """Every file that it names is its own, and holds no script or style in itself."""
    page = await (await client.get("/")).text()
    assert "://" not in page
    assert "style=" not in page
    assert "<script>" not in page
    for name in ("page.css", "page.js", "words.js", "spaces.js", "nodes.js", "panels.js", "icon.svg"):
        assert f'"{name}"' in page
        assert (await client.get(f"/{name}")).status == 200


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
async def test_nothing_can_be_written(client: TestClient, method: str) -> None:
    """No address takes anything but reading."""
    for path in ("/", "/board", "/changes"):
        async with client.request(method, path) as answer:
            assert answer.status == 405


async def test_a_change_reaches_who_follows(client: TestClient, shown: ShownFleet, feed: Feed) -> None:
    """From the version of the board that was read on, with nothing in between missed."""
    board = await (await client.get("/board")).json()
    assert [one["pod"] for one in board["nodes"]["n1"]["gpus"][0]["held"]] == ["first"]
    shown.hold("n1", gpu=1, gib=2, pod="second")
    await feed.look()
    async with client.get(f"/changes?since={board['version']}") as answer:
        assert answer.content_type == "text/event-stream"
        assert (await told(answer))["nodes"]["n1"]["gpus"][1]["held"][0]["pod"] == "second"
        shown.wait("third")
        await feed.look()
        assert (await told(answer))["queued"] == 1


async def test_who_comes_back_goes_on_from_what_it_saw_last(client: TestClient, shown: ShownFleet, feed: Feed) -> None:
    """A browser says that in a header of its own, whatever the address says."""
    await client.get("/board")
    shown.wait("a")
    await feed.look()
    shown.wait("b")
    await feed.look()
    headers = {"Last-Event-ID": str(feed.version - 1)}
    async with client.get("/changes?since=0", headers=headers) as answer:
        assert (await told(answer))["queued"] == 2


@pytest.mark.parametrize("since", [0, 10**6])
async def test_who_is_too_far_behind_is_told_to_read_again(
    client: TestClient, shown: ShownFleet, feed: Feed, since: int
) -> None:
    """Also a browser that knew another process before this one."""
    for number in range(KEPT + 2):
        shown.wait(f"p{number}")
        await feed.look()
    async with client.get(f"/changes?since={since}") as answer:
        assert await answer.text() == "event: again\ndata: 0\n\n"


async def test_who_does_not_read_is_let_go(client: TestClient, shown: ShownFleet, feed: Feed) -> None:
    """Its differences are not kept for ever; the others go on."""
    await feed.look()
    async with feed.follow(feed.version):
        for number in range(1000):
            shown.wait(f"p{number}")
            await feed.look()
            if not feed.followers:
                break
        assert number < 500
    assert (await client.get("/board")).status == 200


async def test_says_when_the_allocator_sees_nothing(client: TestClient, shown: ShownFleet) -> None:
    """Old figures are not passed off as new ones."""
    assert (await (await client.get("/board")).json())["ready"] is True
    shown.ready = False
    assert (await (await client.get("/board")).json())["ready"] is False


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("10.1.2.3", True),
        ("gpus.example:8080", True),
        ("GPUS.example", True),
        ("evil.example:8080", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_names_that_others_may_have_pointed_here_are_refused(host: str, *, right: bool) -> None:
    """A page elsewhere must not read ours through a name of its own that leads to this address."""
    assert called_rightly(host, ["gpus.example"]) is right


async def test_a_strange_name_gets_nothing(client: TestClient) -> None:
    """Not even the page itself; the answer says what to do."""
    async with client.get("/board", headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421
        assert "--page-names" in await answer.text()
