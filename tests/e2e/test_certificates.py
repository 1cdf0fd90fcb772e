"""Two webhooks share a Secret on the embedded API server, which calls both over TLS: no admission fails."""

import argparse
import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from devcluster.apiserver import ApiServer

from allocator.api.names import CERTIFICATE_SECRET, DEFAULT_NAMESPACE
from allocator.kube import MUTATING_WEBHOOKS, NAMESPACES, PODS, SECRETS, Client, KubeSettings
from webhook.command import add_arguments, allocator_settings_of, serve, settings_of
from webhook.custody import certificates, read
from webhook.pki import signed_by
from webhook.server import Addresses

REGISTRATIONS = ("one", "two")


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """An API server."""
    async with ApiServer(folder=tmp_path) as server:
        path = tmp_path / "kubeconfig"
        server.write_kubeconfig(path)
        yield path


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    """Its administrator, in whose name pods are created."""
    async with Client(KubeSettings(kubeconfig=kubeconfig)) as session:
        for name in (DEFAULT_NAMESPACE, "team"):
            await session.create(NAMESPACES, {"metadata": {"name": name}})
        yield session


@asynccontextmanager
async def replica(kubeconfig: Path) -> AsyncIterator[Addresses]:
    """A webhook with its certificate in the Secret, up to the moment when it listens."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, {})
    argv = ["--kubeconfig", str(kubeconfig), "--certificate-secret", CERTIFICATE_SECRET, "--names", "127.0.0.1"]
    argv += ["--registrations", ",".join(REGISTRATIONS), "--ca-settles", "1", "--drain", "0"]
    argv += ["--host", "127.0.0.1", "--port", "0", "--metrics-host", "127.0.0.1", "--metrics-port", "0"]
    args = parser.parse_args(argv)
    stop = asyncio.Event()
    listening: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    settings, of_allocator = settings_of(args), allocator_settings_of(args)
    running = asyncio.create_task(serve(settings, of_allocator, stop, listening=listening.set_result))
    await asyncio.wait([running, listening], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield listening.result()
    finally:
        stop.set()
        await running


async def register(client: Client, name: str, at: Addresses) -> None:
    """Apply a registration as a manifest has it: with no CA."""
    hook = {
        "name": f"{name}.vramshare.io",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": f"https://127.0.0.1:{at.port}/mutate"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "failurePolicy": "Fail",
        "sideEffects": "NoneOnDryRun",
    }
    await client.create(MUTATING_WEBHOOKS, {"metadata": {"name": name}, "webhooks": [hook]})


async def bundles(client: Client) -> list[bytes]:
    """What the registrations name."""
    found = [await client.get(MUTATING_WEBHOOKS, name) for name in REGISTRATIONS]
    return [base64.b64decode(one["webhooks"][0]["clientConfig"].get("caBundle", "")) for one in found]


async def authorities(client: Client) -> tuple[bytes, set[bytes]]:
    """The CA in the Secret, and the CAs that all registrations name."""
    secret = await client.get(SECRETS, CERTIFICATE_SECRET, namespace=DEFAULT_NAMESPACE)
    found = read({name: base64.b64decode(value) for name, value in secret["data"].items()})
    assert found is not None
    assert found.ca is not None
    named = [{one.tbs_certificate_bytes for one in certificates(bundle)} for bundle in await bundles(client)]
    return found.ca.tbs_certificate_bytes, set.intersection(*named)


async def admitted(client: Client, name: str) -> bool:
    """Whether a pod gets past both webhooks, and was changed by them."""
    body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    made = await client.create(PODS, body, namespace="team")
    return any(one["name"] == "NVIDIA_VISIBLE_DEVICES" for one in made["spec"]["containers"][0].get("env", ()))


async def trusted(client: Client) -> None:
    """Wait until both registrations name the Secret's CA."""
    async with asyncio.timeout(60):
        while True:
            ca, named = await authorities(client)
            if ca in named:
                return


async def test_from_nothing_to_a_new_ca_no_admission_fails(kubeconfig: Path, client: Client) -> None:
    """Both agree on one CA, write it where a manifest left it out or wiped it, and exchange it under load."""
    async with replica(kubeconfig) as one, replica(kubeconfig) as two:
        await register(client, "one", one)
        await register(client, "two", two)
        await trusted(client)
        assert await admitted(client, "first")

        wiped = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
        await client.patch(MUTATING_WEBHOOKS, "one", wiped, kind="application/json-patch+json")
        await trusted(client)
        assert await admitted(client, "second")

        before, _ = await authorities(client)
        await client.delete(SECRETS, CERTIFICATE_SECRET, namespace=DEFAULT_NAMESPACE)
        await replaced(client, before, one.port, two.port)
        ca, named = await authorities(client)
        assert {before, ca} <= named, "the former CA is trusted as long as a certificate of it may be served"


async def replaced(client: Client, before: bytes, *ports: int) -> None:
    """Admit pods until both webhooks serve a certificate of another CA."""
    number, served = 0, {before}
    async with asyncio.timeout(60):
        while before in served:
            number += 1
            assert await admitted(client, f"pod-{number}")
            served = {await issuer(client, port) for port in ports}


async def issuer(client: Client, port: int) -> bytes:
    """Who signed what a port serves: the CA of the registrations whose key it was."""
    text = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    served = x509.load_pem_x509_certificate(text.encode())
    found = [ca for bundle in await bundles(client) for ca in certificates(bundle) if signed_by(served, ca)]
    return found[0].tbs_certificate_bytes
