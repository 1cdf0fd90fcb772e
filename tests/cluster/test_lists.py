"""Lists: chunks of one moment, selectors, tables."""

import pytest

from tests.cluster.api import Api

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.fixture
async def three(api: Api, maps: str) -> str:
    """Three config maps with labels."""
    for index, name in enumerate(("a", "b", "c")):
        labels = {"n": str(index), "odd": str(index % 2)} | ({"last": ""} if name == "c" else {})
        await api.create(maps, {"metadata": {"name": f"m-{name}", "labels": labels}})
    return maps


async def names(api: Api, path: str) -> list[str]:
    """The names that a list answers with."""
    answer = await api.get(path)
    assert answer.status == 200, answer.body
    return [item["metadata"]["name"] for item in answer.body["items"]]


async def test_chunks_show_one_moment(api: Api, three: str) -> None:
    """Chunks of a list continue at the revision of the first, whatever happens in between."""
    first = (await api.get(f"{three}?limit=2&labelSelector=n")).body
    await api.delete(f"{three}/m-c")
    await api.create(three, {"metadata": {"name": "m-d", "labels": {"n": "9"}}})
    token = first["metadata"]["continue"]
    second = (await api.get(f"{three}?limit=2&labelSelector=n&continue={token}")).body
    assert [item["metadata"]["name"] for item in second["items"]] == ["m-c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        ("n=1", ["m-b"]),
        ("n!=1,n", ["m-a", "m-c"]),
        ("n in (0,2)", ["m-a", "m-c"]),
        ("n notin (0,2),n", ["m-b"]),
        ("!last,n", ["m-a", "m-b"]),
        ("last", ["m-c"]),
        ("n>0", ["m-b", "m-c"]),
        ("odd==0,n<2", ["m-a"]),
    ],
)
async def test_label_selectors(api: Api, three: str, selector: str, wanted: list[str]) -> None:
    """Every operator of the selector language."""
    text = selector.replace(" ", "%20").replace("<", "%3C").replace(">", "%3E")
    assert await names(api, f"{three}?labelSelector={text}") == wanted


async def test_field_selector_by_name(api: Api, three: str) -> None:
    """metadata.name selects one object, or all others."""
    assert await names(api, f"{three}?fieldSelector=metadata.name%3Dm-b") == ["m-b"]
    assert "m-b" not in await names(api, f"{three}?fieldSelector=metadata.name!%3Dm-b")


async def test_all_namespaces_are_ordered(api: Api, three: str) -> None:
    """A list over all namespaces goes by namespace, then name."""
    body = (await api.get("/api/v1/configmaps")).body
    keys = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in body["items"]]
    assert keys == sorted(keys)
    assert body["kind"] == "ConfigMapList"


async def test_items_carry_no_kind(api: Api, three: str) -> None:
    """Items of a typed list say neither kind nor version: the list does."""
    item = (await api.get(f"{three}?limit=1")).body["items"][0]
    assert not item.keys() & {"kind", "apiVersion"}


async def test_partial_metadata(api: Api, three: str) -> None:
    """A client may ask for metadata alone."""
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    body = (await api.get(three, accept=accept)).body
    assert body["kind"] == "PartialObjectMetadataList"
    assert all(item.keys() <= {"kind", "apiVersion", "metadata"} for item in body["items"])


async def test_table_of_objects(api: Api, three: str) -> None:
    """A table has a row per object, with its name first and the count of keys second."""
    body = (await api.get(f"{three}?labelSelector=n", accept=TABLE)).body
    assert [column["name"] for column in body["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [row["cells"][:2] for row in body["rows"]] == [["m-a", 0], ["m-b", 0], ["m-c", 0]] or [
        row["cells"][:2] for row in body["rows"]
    ] == [["m-a", "0"], ["m-b", "0"], ["m-c", "0"]]


async def test_delete_collection(api: Api, three: str) -> None:
    """DELETE of a collection removes what the selector selects."""
    assert (await api.delete(f"{three}?labelSelector=odd%3D0")).status == 200
    assert await names(api, f"{three}?labelSelector=n") == ["m-b"]


async def test_version_from_the_future(api: Api, three: str) -> None:
    """A list at a version that does not exist yet is refused as too large."""
    answer = await api.get(f"{three}?resourceVersion=999999999&resourceVersionMatch=NotOlderThan")
    assert (answer.status, answer.body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


async def test_bad_continue_token(api: Api, three: str) -> None:
    """A continue token that nobody issued is 400."""
    assert (await api.get(f"{three}?limit=1&continue=garbage")).status == 400
