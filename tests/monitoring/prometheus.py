"""A real Prometheus for a test: its own process, scraping once a second, asked over its HTTP API."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.monitoring.tools import OVERLAY, program

LOCAL = "127.0.0.1"
PATIENCE = 60.0


@dataclass(frozen=True)
class Prometheus:
    """A running one.

    Attributes:
        session: to talk to it.
        url: where it listens.
    """

    session: aiohttp.ClientSession
    url: str

    async def get(self, path: str, **params: str) -> Any:
        """The data of an API answer; fails the test where Prometheus refuses the question."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=params) as answer:
            found = await answer.json()
        assert found["status"] == "success", f"{path} {params}: {found.get('error')}"
        return found["data"]

    async def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of an instant query."""
        found = await self.get("query", query=expression)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    async def until(self, expression: str, holds: Callable[[list[tuple[dict[str, str], float]]], bool]) -> None:
        """Ask again and again until an answer satisfies."""
        found: object = None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    if holds(found := await self.query(expression)):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{expression} still is {found}") from None


@asynccontextmanager
async def prometheus(folder: Path, targets: Mapping[str, int]) -> AsyncIterator[Prometheus]:
    """Start one with the delivered rules.

    Args:
        folder: for its files.
        targets: ports to scrape, by job.
    """
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        port = probe.getsockname()[1]
    log = configured(folder, targets)
    argv = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOCAL}:{port}",
        "--log.level=warn",
    ]
    process = await asyncio.create_subprocess_exec(*argv, stderr=log.open("wb"))
    try:
        async with aiohttp.ClientSession() as session:
            running = Prometheus(session=session, url=f"http://{LOCAL}:{port}")
            await ready(running, process, log)
            yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def configured(folder: Path, targets: Mapping[str, int]) -> Path:
    """Make its folder and its configuration; says where its log goes."""
    folder.mkdir()
    (folder / "prometheus.yaml").write_text(json.dumps(configuration(targets)))  # JSON is YAML
    return folder / "log"


def configuration(targets: Mapping[str, int]) -> dict[str, Any]:
    """What docs/metrics.md tells those without the operator to write, at a quicker pace."""
    jobs = [
        {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [f"{LOCAL}:{port}"]}]}
        for job, port in targets.items()
    ]
    pace = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    return {"global": pace, "rule_files": [str(OVERLAY / "rules.yaml")], "scrape_configs": jobs}


async def ready(running: Prometheus, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until it answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            assert process.returncode is None, f"it has ended; see {log}"
            with contextlib.suppress(aiohttp.ClientError):
                async with running.session.get(f"{running.url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
