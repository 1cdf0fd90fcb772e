"""What the kubelet remembers of each container of a pod, and how that reads in the API. Pure."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from devcluster.clock import timestamp


@dataclasses.dataclass(frozen=True)
class Waiting:
    """Not running, to be started."""

    reason: str
    message: str = ""

    def view(self) -> dict[str, Any]:
        """Return the API's ContainerState."""
        return {"waiting": _present({"reason": self.reason, "message": self.message})}


@dataclasses.dataclass(frozen=True)
class Running:
    """Running since ``started``."""

    started: float

    def view(self) -> dict[str, Any]:
        """Return the API's ContainerState."""
        return {"running": {"startedAt": timestamp(self.started)}}


@dataclasses.dataclass(frozen=True)
class Ended:
    """Ended with an exit code."""

    code: int
    reason: str
    started: float
    finished: float
    message: str = ""
    container_id: str = ""

    def view(self) -> dict[str, Any]:
        """Return the API's ContainerState."""
        fields = {"reason": self.reason, "message": self.message, "containerID": self.container_id}
        times = {"startedAt": timestamp(self.started), "finishedAt": timestamp(self.finished)}
        return {"terminated": {"exitCode": self.code, **times, **_present(fields)}}


State = Waiting | Running | Ended


@dataclasses.dataclass
class Record:
    """One container of a pod, over all its runs."""

    name: str
    image: str
    kind: str
    """``main``, ``init`` or ``sidecar``."""
    state: State
    last: Ended | None = None
    restarts: int = 0
    container_id: str = ""

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return isinstance(self.state, Running)

    @property
    def ready(self) -> bool:
        """Whether it counts as ready: running, or an init container that did its work."""
        if self.kind == "init":
            return isinstance(self.state, Ended) and self.state.code == 0
        return self.running

    def view(self) -> dict[str, Any]:
        """Return the API's ContainerStatus."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": f"host://{self.image}",
            "containerID": self.container_id,
            "ready": self.ready,
            "started": self.running,
            "restartCount": self.restarts,
            "state": self.state.view(),
            "lastState": self.last.view() if self.last else {},
        }


def records_of(pod: Mapping[str, Any]) -> dict[str, Record]:
    """Return fresh records of a pod's containers, in the order of the spec, init containers first."""
    spec = pod["spec"]
    initial = Waiting("PodInitializing" if spec.get("initContainers") else "ContainerCreating")
    found = {}
    for container in spec.get("initContainers") or []:
        kind = "sidecar" if container.get("restartPolicy") == "Always" else "init"
        found[container["name"]] = Record(container["name"], container.get("image", ""), kind, initial)
    for container in spec["containers"]:
        found[container["name"]] = Record(container["name"], container.get("image", ""), "main", initial)
    return found


def _present(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
