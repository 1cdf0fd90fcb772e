"""The page in headless Chromium on loopback: time to the first paint and to the last GPU, main-thread time of updates.

The server has a process of its own, as in life. Paint times are the browser's own (`first-contentful-paint`), counted
from the request. Updates are told in processor time of the page's main thread, for a change of many slices at once; the
longest task is told by the clock on the wall, with whatever else the machine did meanwhile.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from browser import Tab, browsing
from page_fleet import large

from webhook.page.app import create_page
from webhook.page.feed import Feed, Pace

TURN: Final = 0.5
_FIRST: Final = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_DRAWN: Final = "document.querySelectorAll('.gpu').length"
_WATCH: Final = """
new MutationObserver(() => {
  const drawn = document.querySelectorAll('.gpu').length;
  window.firstBars ??= drawn ? performance.now() : undefined;
  if (drawn >= GPUS) { window.lastBars ??= performance.now(); }
}).observe(document, { childList: true, subtree: true });
"""


async def serve(gpus: int, churn: int) -> None:
    """Serve a fleet that changes in every turn; prints the port."""
    shown = large(gpus)
    feed = Feed(shown, now=time.time, pace=Pace(turn=TURN))
    runner = web.AppRunner(create_page(feed), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    following = asyncio.create_task(feed.run())
    while not following.done():
        await asyncio.sleep(TURN)
        if feed.followers:
            shown.churn(churn)


async def load(tab: Tab, url: str, gpus: int) -> dict[str, float]:
    """One visit: milliseconds to the first paint, to the first bars and to the last."""
    await tab.open("about:blank")
    added = await tab.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH.replace("GPUS", str(gpus)))
    await tab.open(url)
    await tab.until(f"{_FIRST} && {_DRAWN} >= {gpus} && window.lastBars")
    await tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    return {
        "first paint": await tab.ask(_FIRST),
        "first bars": await tab.ask("window.firstBars"),
        "all bars": await tab.ask("window.lastBars"),
    }


async def updates(tab: Tab, seconds: float) -> dict[str, float]:
    """Main-thread time of the page while the fleet changes: per update, and the longest task."""
    await tab.call("Performance.enable", timeDomain="threadTicks")
    before = await _metrics(tab)
    await tab.ask(
        "window.tasks = []; new PerformanceObserver((list) => window.tasks.push(...list.getEntries()"
        ".map((one) => one.duration))).observe({ type: 'longtask' })"
    )
    started = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - started
    after = await _metrics(tab)
    longest = await tab.ask("Math.max(0, ...window.tasks)")
    count = took / TURN
    return {
        "main thread per update": 1000 * (after["TaskDuration"] - before["TaskDuration"]) / count,
        "script per update": 1000 * (after["ScriptDuration"] - before["ScriptDuration"]) / count,
        "longest task over 50": longest,
    }


async def _metrics(tab: Tab) -> dict[str, float]:
    found: list[dict[str, Any]] = (await tab.call("Performance.getMetrics"))["metrics"]
    return {one["name"]: one["value"] for one in found}


async def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """All visits."""
    server = subprocess.Popen(  # noqa: ASYNC220, S603 - a process of its own, as in life
        [sys.executable, __file__, "--serve", "--gpus", str(options.gpus), "--churn", str(options.churn)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None  # noqa: S101 - it was asked for
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/"
        found: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            async with browsing(Path(folder)) as tab:
                await tab.look(width=1400, height=900)
                await load(tab, url, options.gpus)  # warms the browser, not the page: nothing is cached
                for _ in range(options.visits):
                    for name, value in (await load(tab, url, options.gpus)).items():
                        found.setdefault(name, []).append(value)
                for name, value in (await updates(tab, options.seconds)).items():
                    found.setdefault(name, []).append(value)
        return found
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--churn", type=int, default=20, help="slices given back and granted anew in each update")
    parser.add_argument("--visits", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=10.0, help="of watching updates")
    parser.add_argument("--json", type=Path, help="write the raw figures here")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.gpus, options.churn))
        return
    found = asyncio.run(measure(options))
    print(f"{options.gpus} GPUs, {options.churn} changed slices per update, milliseconds, median (least to most)")
    for name, values in found.items():
        print(f"  {name:24} {statistics.median(values):7.1f}  ({min(values):.1f} to {max(values):.1f})")
    if options.json:
        options.json.write_text(json.dumps({"gpus": options.gpus, "milliseconds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
