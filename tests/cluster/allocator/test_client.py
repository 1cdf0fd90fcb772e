"""The client and the reflector against a server that speaks HTTP."""

import asyncio
import re
from contextlib import suppress
from random import Random

import pytest

from allocator.kube import (
    CONFIGMAPS,
    Client,
    KubeSettings,
    NotFoundError,
    Reflector,
    Selection,
    StaleError,
    SystemClock,
    UnreachableError,
    errors,
)
from tests.unit.kube.test_reflector import Book


def configmap(name: str, **data: str) -> dict:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_replace_is_a_compare_and_swap(client: Client):
    """The second writer of one version loses, and hears it as such."""
    made = await client.create(CONFIGMAPS, configmap("a", x="1"), namespace="default")
    await client.replace(CONFIGMAPS, {**made, "data": {"x": "2"}})
    with pytest.raises(StaleError):
        await client.replace(CONFIGMAPS, {**made, "data": {"x": "3"}})
    assert (await client.get(CONFIGMAPS, "a", namespace="default"))["data"] == {"x": "2"}
    with pytest.raises(errors.AlreadyExistsError):
        await client.create(CONFIGMAPS, configmap("a"), namespace="default")


async def test_delete_spares_another_of_the_same_name(client: Client):
    """A UID names one object for ever."""
    await client.create(CONFIGMAPS, configmap("a"), namespace="default")
    with pytest.raises(StaleError):
        await client.delete(CONFIGMAPS, "a", namespace="default", uid="somebody-else")
    await client.delete(CONFIGMAPS, "a", namespace="default")
    with pytest.raises(NotFoundError):
        await client.get(CONFIGMAPS, "a", namespace="default")


async def test_a_long_list_comes_page_by_page(client: Client):
    """Nothing is lost or doubled between pages."""
    wanted = {f"cm-{at}" for at in range(520)}
    for name in wanted:
        await client.create(CONFIGMAPS, configmap(name), namespace="default")
    found, version = await client.list(CONFIGMAPS, namespace="default")
    listed = [one["metadata"]["name"] for one in found if one["metadata"]["name"].startswith("cm-")]
    assert (sorted(listed), version.isdecimal()) == (sorted(wanted), True)


async def test_a_reflector_follows_a_live_server(client: Client):
    """List, changes and deletions arrive in order over one open stream."""
    await client.create(CONFIGMAPS, configmap("before"), namespace="default")
    book, changed = Book(), asyncio.Event()
    reflector = Reflector(
        client,
        Selection(CONFIGMAPS, namespace="default", labels="!kubernetes.io/none"),
        book,
        clock=SystemClock(),
        random=Random(1),
        after=changed.set,
    )
    task = asyncio.create_task(reflector.run())
    try:
        async with asyncio.timeout(20):
            await reflector.synced.wait()
            await client.create(CONFIGMAPS, configmap("during", x="y" * 300_000), namespace="default")
            await client.delete(CONFIGMAPS, "before", namespace="default")
            while "-before" not in book.told:
                changed.clear()
                await changed.wait()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert "before" in book.told[0]
    assert book.told[1:] == ["+during", "-before"]
    assert reflector.age() < 60


async def test_no_server_is_told_from_a_lost_answer(tmp_path):
    """Nothing was done where nobody listens."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
    )
    async with Client(KubeSettings(kubeconfig=path)) as nobody:
        with pytest.raises(UnreachableError):
            await nobody.get(CONFIGMAPS, "a", namespace="default")


async def test_a_missing_kubeconfig_says_where_it_was_looked_for(tmp_path):
    """The operator sees the path."""
    with pytest.raises(UnreachableError, match="no-such-file"):
        async with Client(KubeSettings(kubeconfig=tmp_path / "no-such-file")):
            pass


async def test_an_expired_token_is_replaced_from_the_kubeconfig(kubeconfig, client: Client):
    """A kubeconfig's token may be short-lived; whoever renews it does so in the file."""
    good = kubeconfig.read_text()
    kubeconfig.write_text(re.sub("token: .*", "token: expired", good))
    async with Client(KubeSettings(kubeconfig=kubeconfig)) as session:
        kubeconfig.write_text(good)
        with pytest.raises(errors.ForbiddenError):
            await session.list(CONFIGMAPS, namespace="default")
        await session.list(CONFIGMAPS, namespace="default")
