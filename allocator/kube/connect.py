"""From a kubeconfig, or the service account of a pod, to what an HTTP session needs.

kubernetes_asyncio reads the configuration (contexts, client certificates, exec plugins, rotating service account
tokens) and nothing else: its own client parses typed objects, has no time-outs by default and sends loopback
traffic through proxies.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from kubernetes_asyncio import client as kubernetes
from kubernetes_asyncio import config as kubernetes_config
from kubernetes_asyncio.config.config_exception import ConfigException

from allocator.kube.errors import UnreachableError

_IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
_UNREADABLE: Final = (ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError)
"""The library looks into a file of the wrong shape without checking."""
_TOKEN: Final = "BearerToken"  # noqa: S105  # the name of a slot in the configuration, no secret


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """Where the API server is and how patient to be with it.

    Attributes:
        kubeconfig: path of a kubeconfig; None: in a pod its service account, else $KUBECONFIG, else ~/.kube/config.
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


class Credentials:
    """Who we are: a base URL, a TLS context, and a bearer token that may change over time."""

    def __init__(self, configuration: kubernetes.Configuration) -> None:
        self._configuration = configuration
        self.base = str(configuration.host).rstrip("/")
        self.proxy: str | None = configuration.proxy or None
        self.server_name: str | None = configuration.tls_server_name or None
        self.tls = _tls(configuration) if self.base.startswith("https:") else None

    async def headers(self) -> dict[str, str]:
        """The authorization of the next request. A service account's token is read again when it may be old.

        Raises:
            UnreachableError: it cannot be read.
        """
        try:
            token = await self._configuration.get_api_key_with_prefix(_TOKEN)
        except _UNREADABLE as reason:
            raise UnreachableError(f"no way to the API server: its token cannot be read: {reason}") from reason
        return {"Authorization": token} if token else {}


async def load(settings: KubeSettings, *, environ: Mapping[str, str] = os.environ) -> Credentials:
    """Read the configuration that the settings name.

    Raises:
        UnreachableError: there is none, or it cannot be read.
    """
    configuration = type.__call__(kubernetes.Configuration)
    try:
        if settings.kubeconfig is None and _IN_CLUSTER in environ:
            # The library's function carries no annotations.
            kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await kubernetes_config.load_kube_config(
                config_file=None if settings.kubeconfig is None else str(settings.kubeconfig),
                context=settings.context,
                client_configuration=configuration,
            )
    except _UNREADABLE as reason:
        place = settings.kubeconfig or "the default places"
        raise UnreachableError(f"no way to the API server: kubeconfig in {place}: {reason}") from reason
    return Credentials(configuration)


def _tls(configuration: kubernetes.Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
