"""How a GPU reaches a container on this node: by bare UUIDs, by CDI names, or not at all.

Read from what the NVIDIA container toolkit left on the host:
  - its configuration, `nvidia-container-runtime.mode`: `cdi` resolves qualified names only (the GPU Operator's
    default from 25.10), `legacy` and `auto` read UUIDs from the environment;
  - without a configuration, CDI specs of kind `nvidia.com/gpu` that a CDI-enabled containerd or CRI-O resolves.
A wrong guess is a container without a GPU, never one without a wall.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from allocator.api.inventory import Strategy

_CONFIGURATIONS: Final = (
    "usr/local/nvidia/toolkit/.config/nvidia-container-runtime/config.toml",  # the GPU Operator's own
    "etc/nvidia-container-runtime/config.toml",
)
_RUNTIMES: Final = (
    "usr/local/nvidia/toolkit/nvidia-container-runtime",
    "usr/bin/nvidia-container-runtime",
    "usr/local/bin/nvidia-container-runtime",
)
_SPEC_FOLDERS: Final = ("etc/cdi", "var/run/cdi", "run/cdi")
_MODE: Final = re.compile(r'^\s*mode\s*=\s*"([a-z0-9-]+)"', re.MULTILINE)
_SECTION: Final = re.compile(r"^\s*\[nvidia-container-runtime\]\s*$(.*?)(?=^\s*\[|\Z)", re.MULTILINE | re.DOTALL)
_KIND: Final = re.compile(r"""["']?kind["']?\s*:\s*["']?nvidia\.com/gpu\b""")
_UUID: Final = re.compile(r"\bGPU-[0-9a-zA-Z-]+")
_LARGEST_SPEC: Final = 1 << 20


def detect(root: Path) -> tuple[Strategy, str]:
    """The strategy of the host whose file system is at `root`, and for NONE the reason."""
    mode = _mode(root)
    if mode == "cdi":
        return Strategy.CDI, ""
    if mode or any((root / one).exists() for one in _RUNTIMES):
        return Strategy.ENV, ""
    if any(_KIND.search(text) for text in _specs(root)):
        return Strategy.CDI, ""
    return Strategy.NONE, (
        "no NVIDIA container runtime and no CDI spec found on the node; install the NVIDIA container toolkit, "
        "or name the strategy with --strategy env or cdi"
    )


def cdi_gpus(root: Path) -> frozenset[str]:
    """UUIDs of the GPUs that the host's CDI specs name. A spec may name devices by index alone."""
    return frozenset(uuid for text in _specs(root) if _KIND.search(text) for uuid in _UUID.findall(text))


def _mode(root: Path) -> str:
    """The runtime's configured mode; `auto` where a configuration names none; empty without configuration."""
    for one in _CONFIGURATIONS:
        text = _read(root / one)
        if text is None:
            continue
        section = _SECTION.search(text)
        mode = _MODE.search(section[1]) if section else None
        return mode[1] if mode else "auto"
    return ""


def _specs(root: Path) -> Iterator[str]:
    for folder in _SPEC_FOLDERS:
        try:
            files = sorted((root / folder).iterdir())
        except OSError:
            continue
        for file in files:
            if file.suffix in {".json", ".yaml", ".yml"} and (text := _read(file)) is not None:
                yield text


def _read(file: Path) -> str | None:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(_LARGEST_SPEC)
    except OSError:
        return None
