"""Where a container sees the pod's volumes. Pure but for the folder of a subPath, which is made on first use."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from devcluster.kubelet.expansion import expand
from devcluster.kubelet.plan import Bind, is_below
from devcluster.kubelet.sources import ConfigError
from devcluster.kubelet.volumes import Volume


def plan_mounts(container: Mapping[str, Any], volumes: Sequence[Volume], env: Mapping[str, str]) -> list[Bind]:
    """Return the binds of a container's volumeMounts, parents before children.

    Raises:
        ConfigError: a mount names no volume of the pod, or its subPath leaves the volume.
    """
    by_name = {volume.name: volume for volume in volumes}
    binds = []
    for mount in container.get("volumeMounts") or []:
        volume = by_name.get(mount["name"])
        if volume is None:
            raise ConfigError(f'no volume named "{mount["name"]}" for container "{container["name"]}"')
        source = volume.path
        inner = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
        if inner:
            source = _inside(source, inner)
        target = os.path.normpath("/" + mount["mountPath"].lstrip("/"))
        propagated = mount.get("mountPropagation", "None") != "None"
        read_only = bool(mount.get("readOnly")) or volume.kind == "image"
        binds.append(Bind(source, target, read_only=read_only, propagated=propagated))
    return sorted(binds, key=lambda bind: bind.target.count("/") if bind.target != "/" else 0)


def image_binds(folder: str) -> list[Bind]:
    """Return the binds that show the files of an image at their places in a container's root.

    A marked edge of the simulation: a container's root is the machine's own, whatever its image. Where a node has a
    folder with files of the image, each folder of it that holds files is shown in the container.
    """
    binds = []
    for at, folders, files in os.walk(folder):
        if files:
            binds.append(Bind(at, at.removeprefix(folder), read_only=True))
            folders.clear()
    return binds


def make_sub_paths(binds: Sequence[Bind], volumes: Sequence[Volume]) -> None:
    """Create subPath folders that do not exist yet, as open as their volume."""
    for bind in binds:
        for volume in volumes:
            if (
                volume.kind != "image"
                and bind.source.startswith(volume.path + "/")
                and not os.path.lexists(bind.source)
            ):
                os.makedirs(bind.source)
                os.chmod(bind.source, os.stat(volume.path).st_mode & 0o7777)


def check_visible(binds: Sequence[Bind], needed: Sequence[str]) -> None:
    """Refuse a mount that covers what a container runs from.

    A container here sees the machine's own files, this checkout among them; a real image has no such files to cover.

    Raises:
        ConfigError: a mount lies above or at one of the ``needed`` paths.
    """
    for bind in binds:
        for path in needed:
            if is_below(path, [bind.target]):
                raise ConfigError(
                    f"mountPath {bind.target} would hide {path}, which containers of the embedded cluster need; "
                    "mount at another path or move the checkout"
                )


def rewritten(env: Mapping[str, str], binds: Sequence[Bind]) -> dict[str, str]:
    """Return ``env`` for a container without a file system of its own: mount paths become the host's.

    Every ``:``- or space-separated word below a mount path is rewritten, which covers LD_PRELOAD and PATH-like lists.
    """
    return {name: rewrite(value, binds) for name, value in env.items()}


def rewrite(text: str, binds: Sequence[Bind]) -> str:
    """Return one value with paths below mount points replaced by the host's."""
    for separator in (":", " "):
        text = separator.join(_on_host(word, binds) for word in text.split(separator))
    return text


def _on_host(word: str, binds: Sequence[Bind]) -> str:
    for bind in sorted(binds, key=lambda each: -len(each.target)):
        if word == bind.target or word.startswith(bind.target + "/"):
            return bind.source + word[len(bind.target) :]
    return word


def _inside(folder: str, inner: str) -> str:
    path = os.path.normpath(os.path.join(folder, inner))
    if inner.startswith("/") or not path.startswith(folder + "/"):
        raise ConfigError(f'subPath "{inner}" not within volume path "{folder}"')
    return path
