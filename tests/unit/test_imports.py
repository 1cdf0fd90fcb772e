"""Modules can be imported one by one, whichever comes first."""

import subprocess
import sys

IMPORT_EACH_ALONE = """
import importlib, os, pathlib, sys
# Others' packages once, before the children part: they take most of the time.
import aiohttp.web, cryptography.x509, jsonpatch, kubernetes_asyncio, numpy, orjson, prometheus_client, structlog, yaml

for file in sorted([*pathlib.Path("allocator").rglob("*.py"), *pathlib.Path("webhook").rglob("*.py")]):
    name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException as reason:
            print(f"{name}: {reason}", flush=True)
            os._exit(1)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_module_imports_alone() -> None:
    """No module works only because another was imported before it."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", IMPORT_EACH_ALONE], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
