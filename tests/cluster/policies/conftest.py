"""An API server with vramshare's policies and nothing else of it: what they hold while no webhook answers."""

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from devcluster.apiserver import ApiServer

from allocator.api import names
from tests.cluster.api import Answer, Api

Json = dict[str, Any]
KUBECTL = Path(sys.executable).with_name("kubectl")
BASE = Path(__file__).parents[3] / "manifests" / "base"
ALLOCATOR = "system:serviceaccount:vramshare-system:vramshare-webhook"
EDITOR, SCHEDULER, KUBELET = "editor", "system:kube-scheduler", "system:node:node-a"
_NAMESPACES: dict[str, dict[str, str]] = {
    names.DEFAULT_NAMESPACE: {},
    "team": {names.INJECT_LABEL: names.INJECT_ENABLED},
    "lenient": {names.INJECT_LABEL: names.INJECT_ENABLED, "vramshare.io/host-access": "warn"},
    "trusted": {names.INJECT_LABEL: names.INJECT_ENABLED, "vramshare.io/host-access": "allow"},
    "elsewhere": {},
}


@dataclass(frozen=True)
class Ended:
    """What became of a kubectl."""

    code: int
    output: str


class People:
    """Users of kubectl, each with a kubeconfig of their own."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self._server, self._folder = server, folder

    async def kubectl(self, user: str, *argv: str, given: Json | list[Json] | None = None, token: str = "") -> Ended:
        """Run kubectl as somebody, with objects on its standard input."""
        file = self._folder / (user if not token else f"{user}-{hash(token)}").replace(":", "-")
        if not file.exists():
            self._server.write_kubeconfig(file, token=token or self._server.issue_token(user))
        process = await asyncio.create_subprocess_exec(
            *(str(KUBECTL), "--kubeconfig", str(file), *argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        objects = given if isinstance(given, list) else [given] if given is not None else []
        output, _ = await process.communicate("\n---\n".join(map(json.dumps, objects)).encode())
        return Ended(process.returncode or 0, output.decode())

    async def call(self, user: str, method: str, path: str, body: Json, **options: str) -> Answer:
        """One request without kubectl, for what is tried many times."""
        context = ssl.create_default_context(cafile=self._server.ca)
        async with Api(self._server.url, token=self._server.issue_token(user), context=context) as client:
            return await client.call(method, path, body, **options)

    async def must(self, user: str, *argv: str, given: Json | list[Json] | None = None, token: str = "") -> str:
        """Run kubectl; what it printed."""
        ended = await self.kubectl(user, *argv, given=given, token=token)
        assert ended.code == 0, ended.output
        return ended.output

    async def refused(self, user: str, *argv: str, given: Json | list[Json] | None = None, token: str = "") -> str:
        """Run kubectl, which must be refused by a policy; the policy's words."""
        ended = await self.kubectl(user, *argv, given=given, token=token)
        assert ended.code != 0, ended.output
        assert "ValidatingAdmissionPolicy 'vramshare-" in ended.output, ended.output
        return ended.output


def policies() -> list[Json]:
    """The policies and their bindings, as `kubectl apply -k` would send them."""
    ended = subprocess.run([KUBECTL, "kustomize", BASE], check=True, capture_output=True)  # noqa: S603 - ours
    return [one for one in yaml.safe_load_all(ended.stdout) if one["kind"].startswith("ValidatingAdmissionPolicy")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    """Users of a guarded cluster."""
    folder = tmp_path_factory.mktemp("policies")
    async with ApiServer(folder=folder / "apiserver") as server:
        users = People(server, folder)
        namespaces = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name, labels in _NAMESPACES.items()
        ]
        agent = {"name": "vramshare-agent", "namespace": names.DEFAULT_NAMESPACE}
        accounts = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": agent}]
        nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}} for name in ("node-a", "node-b")]
        await users.must("admin", "create", "-f", "-", given=[*namespaces, *accounts, *nodes])
        await users.must("admin", "create", "-f", "-", given=policies())
        yield users
