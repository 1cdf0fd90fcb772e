"""Everything a pod's containers are made from: referenced objects, tokens, volumes; fetched, set up, kept fresh."""

import asyncio
import shutil
from collections.abc import Mapping
from typing import Any

from devcluster.client import CONFIGMAPS, SECRETS, SERVICE_ACCOUNTS, ApiError
from devcluster.events import reference
from devcluster.informer import FAILURES
from devcluster.kubelet.context import NodeContext, first_of
from devcluster.kubelet.payload import Origin
from devcluster.kubelet.sources import Sources, configmap_content, referenced, secret_content
from devcluster.kubelet.volumes import Volume, VolumeError, plan_volumes, set_up, tear_down

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 122.0
_TOKEN_SECONDS = 86400


class Materials:
    """The materials of one pod. ``pod`` is replaced by its worker whenever the API tells of a change."""

    def __init__(self, node: NodeContext, pod: Mapping[str, Any], pod_ip: str) -> None:
        self.volumes: list[Volume] = []
        self.ready = False
        self._node = node
        self._pod_ip = pod_ip
        self._tokens: dict[str, str] = {}
        self.pod = pod

    @property
    def view(self) -> dict[str, Any]:
        """The pod with the addresses that its status may not show yet."""
        addresses = {"podIP": self._pod_ip, "podIPs": [{"ip": self._pod_ip}]}
        host = {"hostIP": self._node.host_ip, "hostIPs": [{"ip": self._node.host_ip}]}
        return {**self.pod, "status": {**self.pod.get("status", {}), **addresses, **host}}

    async def prepare(self, stopping: asyncio.Event) -> bool:
        """Set all volumes up, trying until it works; return False if told to stop before."""
        pause = _FIRST_PAUSE
        while not stopping.is_set():
            try:
                self.volumes = plan_volumes(self.pod, self._node.host)
                await self._set_up_all()
            except VolumeError as error:
                self._node.recorder.emit(
                    reference(self.pod, kind="Pod"), reason="FailedMount", message=str(error), warning=True
                )
            except (*FAILURES, OSError) as error:
                message = f"MountVolume.SetUp failed: {error}"
                self._node.recorder.emit(
                    reference(self.pod, kind="Pod"), reason="FailedMount", message=message, warning=True
                )
            else:
                self.ready = True
                return True
            await first_of(self._node.clock.sleep(pause), stopping.wait())
            pause = min(pause * 2, _LONGEST_PAUSE)
        return False

    async def refresh(self) -> None:
        """Bring projected volumes up to date; what cannot be read now stays as it is."""
        if not self.ready:
            return
        try:
            await self._set_up_all(only_projected=True)
        except (VolumeError, *FAILURES, OSError):
            return

    async def sources(self) -> Sources:
        """Fetch the ConfigMaps and Secrets that the pod refers to."""
        namespace = self.pod["metadata"]["namespace"]
        configmaps, secrets = {}, {}
        for kind, name in sorted(referenced(self.pod)):
            resource = CONFIGMAPS if kind == "configmap" else SECRETS
            try:
                item = await self._node.client.get(resource.path(namespace, name))
            except ApiError as error:
                if error.missing:
                    continue
                raise
            if kind == "configmap":
                configmaps[name] = configmap_content(item)
            else:
                secrets[name] = secret_content(item)
        return Sources(configmaps=configmaps, secrets=secrets, namespace=namespace)

    def discard(self) -> None:
        """Remove the pod's folder and what is mounted in it."""
        for volume in self.volumes:
            tear_down(volume)
        meta = self.pod["metadata"]
        shutil.rmtree(self._node.host.pod(meta["uid"]), ignore_errors=True)
        shutil.rmtree(self._node.host.logs(meta["namespace"], meta["name"], meta["uid"]), ignore_errors=True)

    async def _set_up_all(self, *, only_projected: bool = False) -> None:
        origin = Origin(
            pod=self.view,
            sources=await self.sources(),
            allocatable=self._node.allocatable,
            tokens=await self._fetch_tokens(),
        )
        now = self._node.clock.time()
        for volume in self.volumes:
            if volume.kind == "projected" or not only_projected:
                set_up(volume, origin, now=now, mount_memory=self._node.mount_memory)

    async def _fetch_tokens(self) -> dict[str, str]:
        """Ask for the service account tokens that projected volumes want, once each."""
        spec, namespace = self.pod["spec"], self.pod["metadata"]["namespace"]
        for volume in spec.get("volumes") or []:
            for source in (volume.get("projected") or {}).get("sources") or []:
                audience = (source.get("serviceAccountToken") or {}).get("audience", "")
                if "serviceAccountToken" in source and audience not in self._tokens:
                    path = SERVICE_ACCOUNTS.path(namespace, spec.get("serviceAccountName") or "default", "token")
                    self._tokens[audience] = await self._ask_token(path, audience)
        return self._tokens

    async def _ask_token(self, path: str, audience: str) -> str:
        meta = self.pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec: dict[str, Any] = {"expirationSeconds": _TOKEN_SECONDS, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._node.client.create(path, body)
        return str(answer["status"]["token"])
