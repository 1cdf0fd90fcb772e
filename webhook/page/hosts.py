"""Which names a request may call the page by.

The page has no login: it listens on loopback, and who may forward its port has been asked by the API server. A
browser, however, carries other people's pages too, and one of these can have its own name resolve to 127.0.0.1 (DNS
rebinding) and then read what is served there. It cannot choose the Host header, which says that name.
"""

import ipaddress
from collections.abc import Collection


def called_rightly(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names an address, this machine, or one of the names that were set."""
    name = _without_port(host).casefold()
    if name == "localhost" or name.endswith(".localhost") or name in {one.casefold() for one in names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
