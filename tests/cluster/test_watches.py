"""Watches: initial events, changes, selectors, bookmarks, expiry."""

import json
import ssl
from pathlib import Path
from typing import Any

from devcluster.apiserver import ApiServer

from tests.cluster.api import Api

INITIAL = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def seen(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Kinds and names of events."""
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def test_initial_events_end_with_bookmark(api: Api, maps: str) -> None:
    """SendInitialEvents sends what there is, then a bookmark that says so, then changes."""
    await api.create(maps, {"metadata": {"name": "a"}})
    async with api.watch(f"{maps}?{INITIAL}&fieldSelector=metadata.name%3Da") as stream:
        first = await stream.until("BOOKMARK")
        assert seen(first) == [("ADDED", "a"), ("BOOKMARK", "")]
        assert first[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api.patch(f"{maps}/a", {"data": {"k": "v"}})
        await api.delete(f"{maps}/a")
        assert seen(await stream.until("DELETED")) == [("MODIFIED", "a"), ("DELETED", "a")]


async def test_initial_events_need_match(api: Api, maps: str) -> None:
    """SendInitialEvents without resourceVersionMatch is 422."""
    answer = await api.get(f"{maps}?watch=true&sendInitialEvents=true")
    assert answer.status == 422


async def test_watch_from_a_version(api: Api, maps: str) -> None:
    """A watch from a version sends what happened after it, in order."""
    version = (await api.create(maps, {"metadata": {"name": "a"}})).body["metadata"]["resourceVersion"]
    await api.create(maps, {"metadata": {"name": "b"}})
    await api.delete(f"{maps}/a")
    async with api.watch(f"{maps}?watch=1&resourceVersion={version}&timeoutSeconds=1") as stream:
        assert seen(await stream.rest())[:2] == [("ADDED", "b"), ("DELETED", "a")]


async def test_entering_and_leaving_a_selection(api: Api, maps: str) -> None:
    """An object that starts to match is ADDED, one that stops is DELETED."""
    made = await api.create(maps, {"metadata": {"name": "a"}})
    version = made.body["metadata"]["resourceVersion"]
    await api.patch(f"{maps}/a", {"metadata": {"labels": {"in": "yes"}}})
    await api.patch(f"{maps}/a", {"data": {"k": "v"}})
    await api.patch(f"{maps}/a", {"metadata": {"labels": {"in": None}}})
    async with api.watch(f"{maps}?watch=1&resourceVersion={version}&labelSelector=in%3Dyes") as stream:
        assert [event["type"] for event in await stream.until("DELETED")] == ["ADDED", "MODIFIED", "DELETED"]


async def test_deleted_object_has_new_version(api: Api, maps: str) -> None:
    """A DELETED event carries the version of the deletion, so that a client can go on from it."""
    version = (await api.create(maps, {"metadata": {"name": "a"}})).body["metadata"]["resourceVersion"]
    await api.delete(f"{maps}/a")
    async with api.watch(f"{maps}?watch=1&resourceVersion={version}") as stream:
        event = (await stream.until("DELETED"))[-1]
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(version)


async def test_table_watch(api: Api, maps: str) -> None:
    """A watch of tables sends column definitions once."""
    await api.create(maps, {"metadata": {"name": "a"}})
    async with api.watch(f"{maps}?watch=1&fieldSelector=metadata.name%3Da", accept=TABLE) as stream:
        first = await stream.next()
        await api.patch(f"{maps}/a", {"data": {"k": "v"}})
        second = await stream.next()
    assert first is not None
    assert second is not None
    assert (first["object"]["kind"], first["object"]["columnDefinitions"][0]["name"]) == ("Table", "Name")
    assert not second["object"]["columnDefinitions"]
    assert second["object"]["rows"][0]["cells"][0] == "a"


async def test_timeout_ends_with_bookmark(api: Api, maps: str) -> None:
    """A watch ends after timeoutSeconds, with a bookmark if the client takes them."""
    async with api.watch(f"{maps}?{INITIAL}&timeoutSeconds=1") as stream:
        events = await stream.rest()
    assert [event["type"] for event in events].count("BOOKMARK") >= 1


async def test_compacted_version_is_gone(embedded: ApiServer) -> None:
    """After compaction a watch or a continued list from before it is 410, and a new list is fine."""
    context = ssl.create_default_context(cafile=embedded.ca)
    path = "/api/v1/namespaces/default/configmaps"
    async with Api(embedded.url, token=embedded.token, context=context) as api:
        for name in ("a", "b"):
            made = await api.create(path, {"metadata": {"name": name}})
        version = int(made.body["metadata"]["resourceVersion"]) - 1
        token = (await api.get(f"{path}?limit=1")).body["metadata"]["continue"]
        await api.delete(f"{path}/a")
        embedded.machine.store.compact()
        gone = await api.get(f"{path}?watch=1&resourceVersion={version}")
        assert (gone.body["type"], gone.body["object"]["code"], gone.body["object"]["reason"]) == (
            "ERROR",
            410,
            "Expired",
        )
        assert (await api.get(f"{path}?limit=1&continue={token}")).status == 410
        assert (await api.get(path)).status == 200


async def test_window_forgets_the_oldest(tmp_path: Path) -> None:
    """The window holds so many events; what falls out answers 410."""
    async with ApiServer(folder=tmp_path, window=3) as server:
        context = ssl.create_default_context(cafile=server.ca)
        async with Api(server.url, token=server.token, context=context) as api:
            path = "/api/v1/namespaces/default/configmaps"
            versions = [
                (await api.create(path, {"metadata": {"name": f"m{index}"}})).body["metadata"]["resourceVersion"]
                for index in range(5)
            ]
            assert (await api.get(f"{path}?watch=1&resourceVersion={versions[0]}&timeoutSeconds=1")).body[
                "type"
            ] == "ERROR"
            async with api.watch(f"{path}?watch=1&resourceVersion={versions[2]}&timeoutSeconds=1") as stream:
                assert seen(await stream.rest()) == [("ADDED", "m3"), ("ADDED", "m4")]


async def test_stream_as_recorded(embedded: ApiServer, shared_data: Path) -> None:
    """The events of the recorded stream, in order, with objects of the same shape."""
    lines = (shared_data / "kube-apiserver-1.36" / "watch-configmaps.jsonl").read_text().splitlines()
    recorded = [event for event in map(json.loads, lines) if "openshift" not in json.dumps(event)]
    context = ssl.create_default_context(cafile=embedded.ca)
    path = "/api/v1/namespaces/team-a/configmaps"
    async with Api(embedded.url, token=embedded.token, context=context) as api:
        await api.create("/api/v1/namespaces", {"metadata": {"name": "team-a"}})
        applied = json.dumps(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
        )
        await api.patch(f"{path}/applied?fieldManager=one", applied, "application/apply-patch+yaml")
        await api.create(path, {"metadata": {"name": "ledger"}, "data": {"a": "2"}})
        async with api.watch(f"{path}?{INITIAL}&timeoutSeconds=1") as stream:
            events = await stream.until("BOOKMARK")
            await api.patch(f"{path}/ledger", {"data": {"a": "5"}})
            await api.delete(f"{path}/applied")
            events += await stream.rest()
    assert seen(events) == seen(recorded)[: len(events)]
    for ours, theirs in zip(events, recorded, strict=False):
        assert ours["object"].keys() == theirs["object"].keys()
        if ours["object"]["metadata"].get("name") != "kube-root-ca.crt":  # there, a controller owned its fields
            assert ours["object"]["metadata"].keys() == theirs["object"]["metadata"].keys()
