"""Calling webhooks over TLS: one context per CA bundle, connections kept open."""

import asyncio
import base64
import functools
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from devcluster.apiserver.admission.review import ReviewError
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.selectors import selector_matches

Json = dict[str, Any]
_MOST_CONNECTIONS = 64
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, */*",
    "User-Agent": "kube-apiserver-admission",
}


@functools.lru_cache(maxsize=64)
def _context(bundle: str) -> ssl.SSLContext:
    """A client context that trusts the bundle, or the system's authorities when it is empty."""
    if not bundle:
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=base64.b64decode(bundle).decode())


class Caller:
    """An HTTPS client for webhooks."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, hook: Mapping[str, Any], body: bytes) -> bytes:
        """Send a review and return the response's body.

        Raises:
            ReviewError: unreachable, too slow, or not 200.
        """
        config = hook["clientConfig"]
        seconds = hook.get("timeoutSeconds", 10)
        url, server_name = self._address(config)
        url = f"{url}{'&' if urlsplit(url).query else '?'}timeout={seconds}s"
        if self._session is None:
            connector = aiohttp.TCPConnector(limit_per_host=_MOST_CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        try:
            context = _context(config.get("caBundle", ""))
            async with (
                asyncio.timeout(seconds),
                self._session.post(
                    url, data=body, headers=_HEADERS, ssl=context, server_hostname=server_name
                ) as response,
            ):
                answer = await response.read()
                if response.status != 200:
                    text = answer.decode(errors="replace").strip() or response.reason
                    raise ReviewError(f"failed to call webhook: the server answered {response.status}: {text}")
                return answer
        except TimeoutError as error:
            raise ReviewError(f'failed to call webhook: Post "{url}": context deadline exceeded') from error
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise ReviewError(f'failed to call webhook: Post "{url}": {_plainly(error)}') from error

    def _address(self, config: Mapping[str, Any]) -> tuple[str, str | None]:
        """The URL, and the name that the certificate must carry where it is not the URL's host."""
        if config.get("url"):
            return config["url"], None
        service = config["service"]
        namespace, name = service["namespace"], service["name"]
        host, port = self._resolve(namespace, name, int(service.get("port", 443)))
        path = service.get("path", "")
        return (
            f"https://{host}:{port}{path if path.startswith('/') or not path else '/' + path}",
            f"{name}.{namespace}.svc",
        )

    def _resolve(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        entry = self._machine.store.collection("/services").get(namespace, name)
        if entry is None:
            raise ReviewError(f'failed to call webhook: service "{name}" not found')
        spec = entry.obj["spec"]
        if spec.get("type") == "ExternalName":
            return spec["externalName"], port
        wanted = next((item for item in spec.get("ports") or () if item["port"] == port), None)
        if wanted is None:
            raise ReviewError(f'failed to call webhook: service "{name}" has no port {port}')
        pods = self._machine.store.collection("/pods").entries(namespace)
        for pod in pods:
            if _serves(pod.obj, spec.get("selector") or {}):
                return pod.obj["status"]["podIP"], _target_port(pod.obj, wanted)
        raise ReviewError(f'failed to call webhook: no endpoints available for service "{name}"')


def _serves(pod: Json, selector: Json) -> bool:
    """Is it a ready pod behind the selector?"""
    state = pod.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in state.get("conditions") or ())
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and ready and bool(state.get("podIP")) and selector_matches({"matchLabels": selector}, labels)


def _target_port(pod: Json, port: Json) -> int:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for declared in container.get("ports") or ():
            if declared.get("name") == target:
                return int(declared["containerPort"])
    raise ReviewError(f'failed to call webhook: no container port is named "{target}"')


def _plainly(error: Exception) -> str:
    """What went wrong, in the API server's words where nobody listens."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return f"dial tcp {error.host}:{error.port}: connect: connection refused"
    return str(error)
