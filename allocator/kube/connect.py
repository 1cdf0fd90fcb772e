"""From a kubeconfig, or the service account of a pod, to what an HTTP session needs.

kubernetes_asyncio reads kubeconfigs (contexts, client certificates, exec plugins) and nothing else: its own client
parses typed objects, has no time-outs by default and sends loopback traffic through proxies. It is loaded where there
is a kubeconfig. A pod's service account is two files, and the 40 MB that the library takes are more than all the rest
of a node's agent.
"""

import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from allocator.kube.errors import UnreachableError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its service account."""
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_MISSHAPEN: Final = (AttributeError, KeyError, TypeError)
"""The library looks into a file of the wrong shape without checking."""
_UNREADABLE: Final = (OSError, yaml.YAMLError, ValueError, *_MISSHAPEN)
_TOKEN: Final = "BearerToken"  # noqa: S105  # the name of a slot in the configuration, no secret


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """Where the API server is and how patient to be with it.

    Attributes:
        kubeconfig: path of a kubeconfig; None: $KUBECONFIG, else ~/.kube/config if it is there, else in a pod its
            service account, in kubectl's order: the same cluster as kubectl's.
        context: context of the kubeconfig; None: its current one.
        timeout: seconds for one request, connecting included. Watches have their own limits.
        connections: how many connections at most.
        user_agent: how the API server's logs name us.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    timeout: float = 10.0
    connections: int = 64
    user_agent: str = "vramshare"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are, and to whom.

    Attributes:
        base: URL of the API server.
        tls: how it proves who it is; None: plain HTTP.
        authorization: reads what to send as `Authorization`; empty: nothing. It may change over time.
        proxy: to go through.
        server_name: that its certificate must bear, where that is not its host.
    """

    base: str
    tls: ssl.SSLContext | None
    authorization: Callable[[], Awaitable[str]]
    proxy: str | None = None
    server_name: str | None = None

    async def headers(self) -> dict[str, str]:
        """The authorization of the next request.

        Raises:
            UnreachableError: it cannot be read.
        """
        try:
            found = await self.authorization()
        except _UNREADABLE as reason:
            raise UnreachableError(f"no way to the API server: its token cannot be read: {reason}") from reason
        return {"Authorization": found} if found else {}


async def load(
    settings: KubeSettings, *, environ: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT
) -> Credentials:
    """Read the configuration that the settings name.

    Args:
        settings: may name a kubeconfig.
        environ: says whether this is a pod.
        account: the pod's service account.

    Raises:
        UnreachableError: there is none, or it cannot be read.
    """
    place = _place(settings, environ)
    return await _kubeconfig(settings, place) if place else _service_account(account, environ)


def _place(settings: KubeSettings, environ: Mapping[str, str]) -> str:
    """The kubeconfig, or several as $KUBECONFIG lists them; empty: the pod's service account is meant."""
    named = str(settings.kubeconfig or "") or environ.get("KUBECONFIG", "")
    usual = Path(environ.get("HOME") or "/", ".kube/config")
    place = named or str(usual)
    if any(Path(one).exists() for one in (place, *place.split(os.pathsep))):
        return place
    if not named and _HOST in environ:
        return ""
    raise UnreachableError(
        f"no way to the API server: there is no kubeconfig {place}; name one with --kubeconfig or KUBECONFIG"
    )


def _service_account(account: Path, environ: Mapping[str, str]) -> Credentials:
    host, port = environ[_HOST], environ.get(_PORT, "443")

    async def token() -> str:
        """Kubernetes writes a new one long before the old one ends."""
        return f"Bearer {(account / 'token').read_text(encoding='ascii').strip()}"

    try:
        tls = ssl.create_default_context(cafile=account / "ca.crt")
        (account / "token").stat()
    except OSError as reason:  # ssl.SSLError is one
        raise UnreachableError(f"no way to the API server: service account in {account}: {reason}") from reason
    return Credentials(base=f"https://{f'[{host}]' if ':' in host else host}:{port}", tls=tls, authorization=token)


async def _kubeconfig(settings: KubeSettings, place: str) -> Credentials:
    from kubernetes_asyncio import client, config  # noqa: PLC0415  # 40 MB that a pod need not have
    from kubernetes_asyncio.config.config_exception import ConfigException  # noqa: PLC0415  # likewise

    found = type.__call__(client.Configuration)
    try:
        await config.load_kube_config(
            config_file=place,
            context=settings.context,
            client_configuration=found,
        )
    except _MISSHAPEN as reason:
        problem = f"it lacks something that its context names, such as the user ({reason})"
        raise UnreachableError(f"no way to the API server: kubeconfig in {place}: {problem}") from reason
    except (ConfigException, *_UNREADABLE) as reason:
        raise UnreachableError(f"no way to the API server: kubeconfig in {place}: {reason}") from reason

    async def token() -> str:
        try:
            return str(await found.get_api_key_with_prefix(_TOKEN) or "")
        except ConfigException as reason:
            raise ValueError(reason) from reason

    base = str(found.host).rstrip("/")
    return Credentials(
        base=base,
        tls=_tls(found) if base.startswith("https:") else None,
        authorization=token,
        proxy=found.proxy or None,
        server_name=found.tls_server_name or None,
    )


def _tls(configuration: Any) -> ssl.SSLContext:
    """TLS as a kubeconfig describes it; `configuration` is the library's."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
