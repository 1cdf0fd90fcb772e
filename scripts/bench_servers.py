"""The servers of scripts/bench-admission, each in a process of its own: `python bench_servers.py apiserver|allow ...`.

`apiserver FOLDER` serves the embedded API alone, without scheduler and kubelets, and writes FOLDER/kubeconfig.
`allow CERTIFICATE KEY PORT` serves a webhook that allows everything at once: the least that any webhook costs.
"""

import asyncio
import signal
import ssl
import sys
from pathlib import Path

import orjson
from aiohttp import web
from devcluster.apiserver import ApiServer


async def _until_stopped() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def serve_api(folder: Path) -> None:
    """Serve the API until told to stop; the kubeconfig is there once it listens."""
    async with ApiServer(folder=folder) as server:
        unfinished = folder / "kubeconfig.part"
        server.write_kubeconfig(unfinished)
        unfinished.rename(folder / "kubeconfig")
        await _until_stopped()


async def serve_allow(certificate: Path, key: Path, port: int) -> None:
    """Allow every review until told to stop."""

    async def allow(request: web.Request) -> web.Response:
        review = orjson.loads(await request.read())
        answer = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {"uid": review["request"]["uid"], "allowed": True},
        }
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    app = web.Application()
    app.router.add_post("/mutate", allow)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await _until_stopped()
    await runner.cleanup()


if __name__ == "__main__":
    _, what, *rest = sys.argv
    if what == "apiserver":
        asyncio.run(serve_api(Path(rest[0])))
    else:
        asyncio.run(serve_allow(Path(rest[0]), Path(rest[1]), int(rest[2])))
