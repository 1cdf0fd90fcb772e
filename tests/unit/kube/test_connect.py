"""Credentials: kubeconfigs, service accounts, tokens that change."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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


@pytest.mark.parametrize("way", ["KUBECONFIG", "HOME"])
async def test_in_a_pod_too_the_cluster_is_kubectls(tmp_path, way):
    """Whoever works in a pod, and points kubectl at another cluster, means that one: uninstall takes things away."""
    path = kubeconfig(tmp_path, "secret")
    if way == "HOME":
        (tmp_path / ".kube").mkdir()
        path.rename(tmp_path / ".kube" / "config")
    value = str(tmp_path if way == "HOME" else path)
    found = await load(KubeSettings(), environ={**CLUSTER, way: value}, account=tmp_path / "none")
    assert found.base == "http://127.0.0.1:1"


@pytest.mark.parametrize("named", [True, False])
async def test_no_kubeconfig_at_all_says_how_to_name_one(tmp_path, named):
    """The first thing that a newcomer meets."""
    settings = KubeSettings(kubeconfig=tmp_path / "gone") if named else KubeSettings()
    with pytest.raises(UnreachableError, match=r"there is no kubeconfig /.*--kubeconfig or KUBECONFIG"):
        await load(settings, environ={"HOME": str(tmp_path)})


async def test_a_context_without_its_user_says_so(tmp_path):
    """In words, not in the library's."""
    path = kubeconfig(tmp_path, "secret")
    path.write_text(path.read_text().replace("name: u,", "name: v,").replace("http://", "https://"))
    with pytest.raises(UnreachableError, match="lacks something that its context names, such as the user"):
        await load(KubeSettings(kubeconfig=path), environ={})


@pytest.mark.parametrize("text", ["", "- nonsense\n", "kind: Config\n"])
async def test_a_broken_kubeconfig_names_the_file(tmp_path, text):
    """The operator sees which file to mend."""
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(UnreachableError, match="broken"):
        await load(KubeSettings(kubeconfig=path), environ={})


@pytest.fixture
def account(tmp_path):
    """A pod's service account."""
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text(certificate())
    return tmp_path


async def test_a_service_accounts_token_is_read_again(account):
    """Kubernetes replaces it every hour or so."""
    found = await load(KubeSettings(), environ=CLUSTER, account=account)
    assert found.base == "https://10.0.0.1:443"
    assert await found.headers() == {"Authorization": "Bearer first"}
    (account / "token").write_text("second")
    assert await found.headers() == {"Authorization": "Bearer second"}


async def test_an_api_server_with_an_address_of_version_6(account):
    """Its address stands in brackets."""
    found = await load(KubeSettings(), environ={"KUBERNETES_SERVICE_HOST": "fd00::1"}, account=account)
    assert found.base == "https://[fd00::1]:443"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_a_service_account_that_is_not_mounted_names_its_place(account, missing):
    """The operator sees what to look for."""
    (account / missing).unlink()
    with pytest.raises(UnreachableError, match=str(account)):
        await load(KubeSettings(), environ=CLUSTER, account=account)


async def test_a_token_that_cannot_be_read_is_no_way_to_the_api_server(account):
    """Between two rotations there may be no file for a moment: an error like any other, to be tried again."""
    found = await load(KubeSettings(), environ=CLUSTER, account=account)
    (account / "token").unlink()
    with pytest.raises(UnreachableError, match="token cannot be read"):
        await found.headers()


async def test_an_exec_plugin_that_fails_is_no_way_to_the_api_server(tmp_path):
    """A kubeconfig may name a program that gives the token."""
    path = kubeconfig(tmp_path, "secret")
    text = path.read_text().replace(
        "token: secret", "exec: {apiVersion: client.authentication.k8s.io/v1, command: 'false'}"
    )
    path.write_text(text)
    with pytest.raises(UnreachableError):
        await (await load(KubeSettings(kubeconfig=path), environ={})).headers()


def test_a_pod_does_not_load_the_library():
    """It takes more memory than all of a node's agent."""
    code = "import sys, allocator.kube.client; sys.exit('kubernetes_asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own interpreter


def certificate() -> str:
    """Some CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    end = start + dt.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, end)
    built = builder.sign(key, hashes.SHA256())
    return built.public_bytes(serialization.Encoding.PEM).decode()
