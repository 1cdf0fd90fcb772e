"""Credentials: kubeconfigs, service accounts, tokens that change."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes_asyncio.config import incluster_config

from allocator.kube import KubeSettings, UnreachableError
from allocator.kube.connect import load

CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def kubeconfig(folder: Path, token: str) -> Path:
    """A kubeconfig with a token, over plain HTTP."""
    path = folder / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1/'}}, {name: d, cluster: {server: 'http://d'}}]\n"
        "contexts: [{name: one, context: {cluster: c, user: u}}, {name: two, context: {cluster: d, user: u}}]\n"
        f"users: [{{name: u, user: {{token: {token}}}}}]\n"
    )
    return path


async def test_a_kubeconfig_gives_server_and_token(tmp_path):
    """The current context's."""
    found = await load(KubeSettings(kubeconfig=kubeconfig(tmp_path, "secret")), environ={})
    assert found.base == "http://127.0.0.1:1"
    assert await found.headers() == {"Authorization": "Bearer secret"}


async def test_a_named_context_is_used(tmp_path):
    """Not the current one."""
    found = await load(KubeSettings(kubeconfig=kubeconfig(tmp_path, "secret"), context="two"), environ={})
    assert found.base == "http://d"


async def test_a_given_kubeconfig_wins_over_the_service_account(tmp_path):
    """Whoever names a file means it, in a pod too."""
    found = await load(KubeSettings(kubeconfig=kubeconfig(tmp_path, "secret")), environ=CLUSTER)
    assert found.base == "http://127.0.0.1:1"


@pytest.mark.parametrize("text", ["", "- nonsense\n", "kind: Config\n"])
async def test_a_broken_kubeconfig_names_the_file(tmp_path, text):
    """The operator sees which file to mend."""
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(UnreachableError, match="broken"):
        await load(KubeSettings(kubeconfig=path), environ={})


async def test_a_service_accounts_token_is_read_again(tmp_path, monkeypatch):
    """Kubernetes replaces it every hour or so."""
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    ca.write_text(certificate())
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setattr(incluster_config, "TOKEN_REFRESH_PERIOD", dt.timedelta(0))
    found = await load(KubeSettings())
    assert found.base == "https://10.0.0.1:443"
    assert await found.headers() == {"Authorization": "Bearer first"}
    token.write_text("second")
    assert await found.headers() == {"Authorization": "Bearer second"}


async def test_a_token_that_cannot_be_read_is_no_way_to_the_api_server(tmp_path):
    """Between two rotations there may be no file for a moment: an error like any other, to be tried again."""

    async def gone(_configuration):
        raise FileNotFoundError("token")

    found = await load(KubeSettings(kubeconfig=kubeconfig(tmp_path, "secret")), environ={})
    found._configuration.refresh_api_key_hook = gone
    with pytest.raises(UnreachableError, match="token cannot be read"):
        await found.headers()


def certificate() -> str:
    """Some CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    end = start + dt.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, end)
    built = builder.sign(key, hashes.SHA256())
    return built.public_bytes(serialization.Encoding.PEM).decode()
