"""On which addresses servers of ours can be reached, over real sockets."""

import contextlib
import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from allocator.exposition import exposed, metrics_app
from allocator.listening import EVERYWHERE


def loopback() -> list[str]:
    """This machine's own addresses, as they stand in URLs."""
    found = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        found.append("[::1]")
    return found


async def answers(host: str) -> set[str]:
    """Which of the machine's addresses a server on this one answers at."""
    found = set()
    async with (
        exposed(metrics_app(CollectorRegistry()), host=host, port=0) as port,
        aiohttp.ClientSession() as session,
    ):
        for address in loopback():
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with session.get(f"http://{address}:{port}/healthz") as answer:
                    assert answer.status == 200
                    found.add(address)
    return found


async def test_everywhere_is_both_families() -> None:
    """In a cluster of IPv6 alone a server on IPv4 would never be found."""
    assert await answers(EVERYWHERE) == set(loopback())


async def test_without_ipv6_it_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without IPv6 is no reason not to serve."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert await answers(EVERYWHERE) == {"127.0.0.1"}


async def test_one_address_is_that_one() -> None:
    """Whoever names an address means no other."""
    assert await answers("127.0.0.1") == {"127.0.0.1"}


async def test_a_taken_port_is_told() -> None:
    """And not served beside whoever has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with exposed(metrics_app(CollectorRegistry()), host=EVERYWHERE, port=taken.getsockname()[1]):
            pass
