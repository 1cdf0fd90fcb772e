"""The API server under test: the embedded one, or a real one named by KUBECONFIG or KUBEBUILDER_ASSETS."""

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from devcluster.apiserver import ApiServer

from tests.cluster.api import Api
from tests.cluster.real import Real, from_assets, from_kubeconfig


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real | None]:
    """The real API server that the environment names, if it names one."""
    if os.environ.get("KUBECONFIG"):
        yield from_kubeconfig(Path(os.environ["KUBECONFIG"]))
    elif os.environ.get("KUBEBUILDER_ASSETS"):
        with from_assets(Path(os.environ["KUBEBUILDER_ASSETS"]), tmp_path_factory.mktemp("control-plane")) as found:
            yield found
    else:
        yield None


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A fresh embedded server."""
    async with ApiServer(folder=tmp_path / "apiserver") as server:
        yield server


@pytest.fixture
async def api(real: Real | None, tmp_path: Path) -> AsyncIterator[Api]:
    """A client of the server under test, as its administrator."""
    if real is not None:
        async with Api(real.url, token=real.token, context=real.context) as client:
            yield client
        return
    async with ApiServer(folder=tmp_path / "apiserver") as server:
        context = ssl.create_default_context(cafile=server.ca)
        async with Api(server.url, token=server.token, context=context, authority=server.ca) as client:
            yield client


@pytest.fixture
async def namespace(api: Api) -> AsyncIterator[str]:
    """A namespace of the test's own, with its service account."""
    made = await api.create("/api/v1/namespaces", {"metadata": {"generateName": "conformance-"}})
    name: str = made.body["metadata"]["name"]
    accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
    await api.create(accounts, {"metadata": {"name": "default"}})  # it exists already where a controller made it
    yield name
    await api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def pods(namespace: str) -> str:
    """The path of the namespace's pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


@pytest.fixture
def maps(namespace: str) -> str:
    """The path of the namespace's config maps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"
