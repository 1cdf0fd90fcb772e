"""An agent's metrics over a real socket."""

import asyncio
import socket
from datetime import UTC, datetime

import aiohttp

from allocator.agent.sample import Latest, Sample
from allocator.agent.show import MetricsSettings, showing
from tests.unit.kube.clockwork import ManualClock, until

LOCAL = "127.0.0.1"


async def scraped(port: int) -> str:
    """What a scrape gets."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{LOCAL}:{port}/metrics") as answer:
        return await answer.text()


async def test_the_newest_sample_is_shown() -> None:
    """Whatever was put where samples are found."""
    latest, ports = Latest(), asyncio.Queue()
    settings = MetricsSettings(host=LOCAL, port=0)
    async with showing(latest, settings, clock=ManualClock(), listening=ports.put_nowait):
        port = await asyncio.wait_for(ports.get(), timeout=60)
        assert "vramshare_agent_usable" not in await scraped(port)
        latest.sample = Sample(node="n1", at=datetime.now(UTC))
        async with asyncio.timeout(60):  # whoever asks again at once may be given the same
            while 'vramshare_agent_usable{node="n1"} 0.0' not in await scraped(port):
                pass


async def test_a_taken_port_is_tried_again() -> None:
    """The agent goes on without, and is heard as soon as it can be."""
    clock, ports = ManualClock(), asyncio.Queue()
    with socket.socket() as taken:
        taken.bind((LOCAL, 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = MetricsSettings(host=LOCAL, port=port)
        running = showing(Latest(), settings, clock=clock, listening=ports.put_nowait)
        await running.__aenter__()
        await until(lambda: bool(clock.slept))
        assert ports.empty()
    clock.advance(3600)
    assert await asyncio.wait_for(ports.get(), timeout=60) == port
    assert "vramshare_build_info" in await scraped(port)
    await running.__aexit__(None, None, None)
