"""The simulated NVIDIA container runtime: which GPUs a container sees, decided from its environment alone. Pure.

Modelled on the two modes of the real one. ``env``: NVIDIA_VISIBLE_DEVICES holds UUIDs, indices or ``all``. ``cdi``: it
holds qualified names (``nvidia.com/gpu=<name>``) that must resolve in the node's CDI specs; a bare UUID is refused.
Absent, empty and ``void`` mean no GPU and no driver libraries in either.
"""

import dataclasses
from collections.abc import Mapping

ENV = "env"
CDI = "cdi"
NONE = "none"
FAKE = "fake"
REAL = "real"
VARIABLE = "NVIDIA_VISIBLE_DEVICES"


class NvidiaError(Exception):
    """The runtime refuses to create the container; the message ends as the real one's does."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One GPU of a node. ``index`` is also the minor number of its device node."""

    uuid: str
    index: int


@dataclasses.dataclass(frozen=True)
class NodeGpus:
    """What the runtime of one node knows."""

    kind: str = NONE
    gpus: tuple[Gpu, ...] = ()
    mode: str = ENV


def visible(gpus: NodeGpus, env: Mapping[str, str], cdi: Mapping[str, str]) -> tuple[Gpu, ...] | None:
    """Return the GPUs that a container sees; None: not even the driver's libraries.

    Args:
        gpus: the node's.
        env: the container's resolved environment.
        cdi: qualified CDI device name -> UUID, ``all`` or index, of the specs found on the node.

    Raises:
        NvidiaError: a device does not exist.
    """
    asked = env.get(VARIABLE, "")
    if gpus.kind == NONE or asked in {"", "void"}:
        return None
    if asked == "none":
        return ()
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if gpus.mode == CDI:
        names = [_resolved(name, cdi) for name in names]
    found: dict[str, Gpu] = {}
    for name in names:
        found.update({gpu.uuid: gpu for gpu in _select(gpus, name)})
    return tuple(sorted(found.values(), key=lambda gpu: gpu.index))


def _resolved(name: str, cdi: Mapping[str, str]) -> str:
    if name in {"all", "nvidia.com/gpu=all", "management.nvidia.com/gpu=all"}:
        return "all"
    if name not in cdi:
        raise NvidiaError(
            "could not apply required modification to OCI specification: error modifying OCI spec: "
            f"failed to inject CDI devices: unresolvable CDI devices {name}"
        )
    return cdi[name]


def _select(gpus: NodeGpus, name: str) -> tuple[Gpu, ...]:
    if name == "all":
        return gpus.gpus
    for gpu in gpus.gpus:
        if name in {gpu.uuid, str(gpu.index)}:
            return (gpu,)
    raise NvidiaError(
        "error running prestart hook #0: exit status 1, stdout: , stderr: "
        f"nvidia-container-cli: device error: {name}: unknown device"
    )
