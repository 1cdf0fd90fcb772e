"""Following a collection: lists, watches, and what happens when either fails."""

import asyncio
from typing import Any

from devcluster.client import PODS, ApiError
from devcluster.informer import Informer


def pod(name: str, version: int, uid: str = "") -> dict[str, Any]:
    """A pod as the API shows it."""
    return {"metadata": {"namespace": "n", "name": name, "uid": uid or name, "resourceVersion": str(version)}}


class Server:
    """Answers lists and watches from a script; once that is over, the last watch stays open."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[str] = []
        self.done = asyncio.Event()
        self.assume: Any = None

    async def get(self, _path: str, _params: Any) -> dict[str, Any]:
        """The next list."""
        self.asked.append("list")
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        version, items = answer
        return {"metadata": {"resourceVersion": version}, "items": items}

    async def watch(self, _path: str, params: Any) -> Any:
        """The next watch."""
        self.asked.append(f"watch {params['resourceVersion']}")
        if not self.script:
            self.done.set()
            await asyncio.get_running_loop().create_future()
        for kind, item in self.script.pop(0):
            if kind == "ASSUMED":
                self.assume(item)
                continue
            yield {"type": kind, "object": item}


async def follow(*script: Any) -> tuple[Informer, list[Any], list[str]]:
    """Run an informer through a script; return it, what it told, and what it asked for."""
    server = Server(*script)
    informer = Informer(server, PODS)  # type: ignore[arg-type]
    server.assume = informer.assume
    told: list[Any] = []

    def note(before: Any, after: Any) -> None:
        told.append(
            tuple(item and (item["metadata"]["name"], item["metadata"]["resourceVersion"]) for item in (before, after))
        )

    informer.on_change(note)
    task = asyncio.ensure_future(informer.run())
    await asyncio.wait_for(server.done.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return informer, told, server.asked


async def test_changes_are_told_in_order() -> None:
    """A list, then every event of the watch."""
    informer, told, _ = await follow(
        ("5", [pod("a", 1)]), [("ADDED", pod("b", 6)), ("MODIFIED", pod("a", 7)), ("DELETED", pod("b", 8))]
    )
    assert told == [(None, ("a", "1")), (None, ("b", "6")), (("a", "1"), ("a", "7")), (("b", "6"), None)]
    assert set(informer.items) == {("n", "a")}


async def test_a_watch_that_ends_is_resumed_where_it_was() -> None:
    """Bookmarks move the place to resume from."""
    _, _, asked = await follow(
        ("5", []), [("ADDED", pod("a", 6))], [("BOOKMARK", {"metadata": {"resourceVersion": "9"}})]
    )
    assert asked == ["list", "watch 5", "watch 6", "watch 9"]


async def test_an_expired_watch_lists_again_and_tells_the_differences() -> None:
    """What vanished meanwhile is told as gone, what stayed is not told again."""
    expired = [("ERROR", {"code": 410, "reason": "Expired"})]
    _, told, asked = await follow(("5", [pod("a", 1), pod("b", 2)]), expired, ("9", [pod("b", 2), pod("c", 8)]))
    assert told[2:] == [(("a", "1"), None), (None, ("c", "8"))]
    assert asked == ["list", "watch 5", "list", "watch 9"]


async def test_a_refused_list_is_tried_again() -> None:
    """An API server that is not there yet is waited for."""
    _, told, _ = await follow(ApiError(code=503, reason="x", message="x"), ("5", [pod("a", 1)]))
    assert told == [(None, ("a", "1"))]


async def test_an_assumed_object_is_still_told_when_the_watch_shows_it() -> None:
    """Others who share the informer learn of it though it is known already."""
    informer, told, _ = await follow(("5", []), [("ASSUMED", pod("a", 6)), ("ADDED", pod("a", 6))])
    assert told[-1][1] == ("a", "6")
    assert set(informer.items) == {("n", "a")}


async def test_an_object_known_to_be_gone_is_not_assumed() -> None:
    """The answer to a write may arrive after the watch has shown the object's end."""
    informer, _, _ = await follow(("5", [pod("a", 1)]), [("DELETED", pod("a", 6))])
    informer.assume(pod("a", 1))
    assert not informer.items
