"""Where servers of ours listen.

A pod has an IPv4 address, an IPv6 address or both, as its cluster has it, and the kubelet, the API server and
Prometheus come by the one that they know. One socket takes both.
"""

import errno
import socket
import ssl
from typing import Final

from aiohttp import web

EVERYWHERE: Final = "::"
"""All addresses of the machine, of both families."""
_EVERYWHERE_4: Final = "0.0.0.0"  # noqa: S104 - the same where the kernel knows no IPv6
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def site(runner: web.AppRunner, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> web.BaseSite:
    """A socket for an application, not started yet.

    Args:
        runner: the application's.
        host: address to listen on, or `EVERYWHERE`.
        port: its port; 0: any free one.
        tls: how to serve; None: plainly.

    Raises:
        OSError: the port is taken.
    """
    if host != EVERYWHERE:
        return web.TCPSite(runner, host, port, ssl_context=tls)
    both = _both_families(port)
    if both is None:
        return web.TCPSite(runner, _EVERYWHERE_4, port, ssl_context=tls)
    return web.SockSite(runner, both, ssl_context=tls)


def _both_families(port: int) -> socket.socket | None:
    """A socket that takes IPv4 and IPv6; None where there is no IPv6."""
    if not socket.has_dualstack_ipv6():
        return None
    try:
        return socket.create_server((EVERYWHERE, port), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError as reason:
        if reason.errno in _NO_IPV6:
            return None
        raise
