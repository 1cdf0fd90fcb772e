"""Real API servers for the conformance suite."""

import base64
import contextlib
import os
import secrets
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.cluster.api import Api

_START_SECONDS = 60


@dataclass(frozen=True)
class Real:
    """How to reach it."""

    url: str
    token: str
    context: ssl.SSLContext


def from_kubeconfig(path: Path) -> Real:
    """The current context of a kubeconfig, by token or client certificate."""
    config = yaml.safe_load(path.read_text())
    current = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == current["cluster"])
    user = next(u["user"] for u in config["users"] if u["name"] == current["user"])
    authority = (
        base64.b64decode(cluster["certificate-authority-data"]).decode()
        if "certificate-authority-data" in cluster
        else None
    )
    context = ssl.create_default_context(cadata=authority, cafile=cluster.get("certificate-authority"))
    if "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    elif "client-certificate-data" in user:
        _load_inline(context, user)
    return Real(cluster["server"].rstrip("/"), user.get("token", ""), context)


def _load_inline(context: ssl.SSLContext, user: dict[str, str]) -> None:
    """A certificate in the kubeconfig itself: ssl reads files only."""
    import tempfile  # noqa: PLC0415

    with tempfile.NamedTemporaryFile() as both:
        both.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        both.flush()
        context.load_cert_chain(both.name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def from_assets(assets: Path, folder: Path) -> Iterator[Real]:
    """Etcd and kube-apiserver of a folder of binaries, as envtest lays it out."""
    etcd, peer, port, token = _free_port(), _free_port(), _free_port(), secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f'{token},admin-token,admin-token,"system:masters"\n')
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "sa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    store = [str(assets / "etcd"), f"--data-dir={folder / 'etcd'}", f"--listen-peer-urls=http://127.0.0.1:{peer}"]
    store += [f"--{flag}=http://127.0.0.1:{etcd}" for flag in ("listen-client-urls", "advertise-client-urls")]
    server = [
        str(assets / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={folder / 'certificates'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=AlwaysAllow",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
    ]
    with contextlib.ExitStack() as stack:
        for command in (store, server):
            log = stack.enter_context((folder / f"{Path(command[0]).name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - the user named the binaries
            stack.callback(process.wait)
            stack.callback(process.terminate)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it signs its own certificate
        _await_ready(f"https://127.0.0.1:{port}/readyz", token, context)
        yield Real(f"https://127.0.0.1:{port}", token, context)


def _await_ready(url: str, token: str, context: ssl.SSLContext) -> None:
    deadline = time.monotonic() + _START_SECONDS
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - https only
    while True:
        try:
            with urllib.request.urlopen(request, context=context, timeout=2):  # noqa: S310 - https only
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def kubeconfig_of(api: Api, real: Real | None, folder: Path) -> Path:
    """A kubeconfig for kubectl: the user's own where one is given."""
    own = os.environ.get("KUBECONFIG")
    if real is not None and own:
        return Path(own)
    path = folder / "kubeconfig"
    cluster: dict[str, str | bool] = {"server": api.url}
    authority = "" if api.authority is None else str(api.authority)
    cluster |= {"certificate-authority": authority} if authority else {"insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": api.token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))
    return path
