"""The node's side of the simulated NVIDIA runtime: descriptions, CDI specs, driver libraries, device nodes."""

import asyncio
import configparser
import dataclasses
import glob
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import pynvml
import yaml

from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.nvidia import CDI, ENV, FAKE, NONE, REAL, Gpu, NodeGpus, visible
from devcluster.kubelet.plan import PROCESS, Bind

STATE = "/run/fakegpu"
"""Where the fake driver looks for its description, its books and the file ``visible``."""
_CONTROL_DEVICES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_DRIVER = "libcuda.so.1"
_DRIVER_LIBRARIES = ("libcuda.so", "libnvidia-ml.so")
_DEVICE_NODE = re.compile(r"/dev/nvidia(\d+)")


@dataclasses.dataclass(frozen=True)
class Injection:
    """What the runtime adds to one container's plan."""

    binds: tuple[Bind, ...] = ()
    hide: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = ()
    """Host files that must be where they are in the container too."""


class NvidiaRuntime:
    """The runtime of one node. ``libraries`` is the folder of the fake driver."""

    def __init__(self, *, gpus: str, mode: str, host: HostFolder, libraries: str) -> None:
        self._host = host
        self._libraries = libraries
        self._description = gpus
        self._cache = ""
        self._driver_files: tuple[str, ...] = ()
        self._search = ""
        self.gpus = NodeGpus(mode=mode or ENV)

    async def prepare(self, isolation: str) -> None:
        """Read the GPUs and lay out the node's files. Once, before the first container."""
        self.gpus = dataclasses.replace(self.gpus, **_described(self._description))
        listing = await _output("ldconfig", "-p")
        paths = [line.rpartition(" => ")[2] for line in listing.splitlines() if " => " in line]
        self._driver_files = tuple(path for path in paths if os.path.basename(path).startswith(_DRIVER_LIBRARIES))
        _write_configuration(self._host, self.gpus)
        if self.gpus.kind == REAL:
            self._search = unlisted_driver(self._driver_files, os.environ.get("LD_LIBRARY_PATH", ""))
        if self.gpus.kind == FAKE:
            state = self._host.host_path(STATE)
            os.makedirs(state, exist_ok=True)
            os.chmod(state, 0o777)  # noqa: S103 - any user's program may use a GPU: the driver's devices are 0666
            shutil.copyfile(self._description, f"{state}/gpus.ini")
            if isolation != PROCESS:
                # Each container's own list is mounted over this one; where nothing is mounted it would win over
                # the environment.
                _write(f"{state}/visible", "all\n")
            self._cache = await _loader_cache(self._libraries, self._host.runtime)

    def inject(self, env: Mapping[str, str], *, isolation: str, scratch: str) -> Injection:
        """Return what one container gets; files of its own are written to ``scratch``.

        Raises:
            NvidiaError: it asks for a GPU that is not there.
        """
        seen = visible(self.gpus, env, _cdi_devices(self._host))
        if seen is None:
            return Injection(hide=self._driver_files)
        if self.gpus.kind == REAL:
            found = {"LD_LIBRARY_PATH": _joined(self._search, env)} if self._search else {}
            return Injection(devices=_real_devices(seen), env=found)
        names = ",".join(gpu.uuid for gpu in seen)
        if isolation == PROCESS:
            search, state = _joined(self._libraries, env), self._host.host_path(STATE)
            return Injection(env={"LD_LIBRARY_PATH": search, "FAKEGPU_DIR": state, "FAKEGPU_VISIBLE": names})
        _write(f"{scratch}.visible", names + "\n")
        binds = [
            Bind(source=self._host.host_path(STATE), target=STATE),
            Bind(source=f"{scratch}.visible", target=f"{STATE}/visible", read_only=True),
        ]
        extra = {}
        if self._cache:
            binds.append(Bind(source=self._cache, target="/etc/ld.so.cache", read_only=True))
        else:
            extra["LD_LIBRARY_PATH"] = _joined(self._libraries, env)
        return Injection(binds=tuple(binds), hide=self._driver_files, env=extra, needs=(self._libraries,))


def _described(description: str) -> dict[str, Any]:
    if description == "real":
        return {"kind": REAL, "gpus": real_gpus()}
    if description in {"", "none"}:
        return {"kind": NONE}
    parser = configparser.ConfigParser(interpolation=None)
    with open(description, encoding="utf-8") as file:
        parser.read_file(file)
    return {"kind": FAKE, "gpus": tuple(Gpu(uuid=uuid, index=i) for i, uuid in enumerate(parser.sections()))}


def real_gpus() -> tuple[Gpu, ...]:
    """The machine's GPUs, in the order of their device nodes.

    NVML is asked: /proc/driver/nvidia has question marks for the UUID of a GPU that no program has opened yet.
    """
    pynvml.nvmlInit()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]
        found = [Gpu(pynvml.nvmlDeviceGetUUID(one), pynvml.nvmlDeviceGetMinorNumber(one)) for one in handles]
    finally:
        pynvml.nvmlShutdown()
    return tuple(sorted(found, key=lambda gpu: gpu.index))


def unlisted_driver(listed: Sequence[str], search: str) -> str:
    """The folder of the real driver where only this process' LD_LIBRARY_PATH names it; empty where the loader knows.

    A container does not inherit that variable, and the real runtime makes the driver known to a container's loader.
    """
    if any(os.path.basename(path) == _DRIVER for path in listed):
        return ""
    return next((one for one in search.split(":") if one and os.path.exists(f"{one}/{_DRIVER}")), "")


def _joined(folder: str, env: Mapping[str, str]) -> str:
    """A search path with one more folder, in front."""
    return ":".join(filter(None, [folder, env.get("LD_LIBRARY_PATH", "")]))


def _real_devices(seen: Sequence[Gpu]) -> tuple[str, ...]:
    caps = ["nvidia-caps"] if os.path.isdir("/dev/nvidia-caps") else []
    return (*_CONTROL_DEVICES, *caps, *(f"nvidia{gpu.index}" for gpu in seen))


def _cdi_devices(host: HostFolder) -> dict[str, str]:
    """Read the node's CDI specs: qualified name -> what :func:`visible` understands."""
    found: dict[str, str] = {}
    for folder in ("/etc/cdi", "/run/cdi"):
        for path in sorted(glob.glob(host.host_path(folder) + "/*")):
            with open(path, encoding="utf-8") as file:
                spec = yaml.safe_load(file) or {}
            for device in spec.get("devices") or []:
                found[f"{spec['kind']}={device['name']}"] = _cdi_target(device)
    return found


def _cdi_target(device: Mapping[str, Any]) -> str:
    for node in (device.get("containerEdits") or {}).get("deviceNodes") or []:
        match = _DEVICE_NODE.fullmatch(node.get("path", ""))
        if match:
            return match[1]
    return str(device["name"])


def _write_configuration(host: HostFolder, gpus: NodeGpus) -> None:
    """Write the runtime's own configuration file where the node's agent can read the mode from."""
    if gpus.kind == NONE:
        return
    folder = host.host_path("/etc/nvidia-container-runtime")
    os.makedirs(folder, exist_ok=True)
    mode = "cdi" if gpus.mode == CDI else "legacy"
    _write(f"{folder}/config.toml", f'[nvidia-container-runtime]\nmode = "{mode}"\n')


async def _loader_cache(libraries: str, folder: str) -> str:
    """Make a loader cache that finds the fake driver first; empty if this machine has no ldconfig."""
    configuration, cache = f"{folder}/ld.so.conf", f"{folder}/ld.so.cache"
    _write(configuration, f"{libraries}\ninclude /etc/ld.so.conf\n")
    await _output("ldconfig", "-X", "-f", configuration, "-C", cache)
    return cache if os.path.exists(cache) else ""


async def _output(program: str, *arguments: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        return ""
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
