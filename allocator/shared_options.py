"""The settings that webhook and agent have in common, declared once."""

from typing import Final

from allocator import logs
from allocator.api import names
from allocator.config import Option, one_of, path, text


def _folder(value: str) -> str:
    """An absolute path, without a slash at its end."""
    if not value.startswith("/"):
        raise ValueError("write an absolute path")
    return value.rstrip("/") or "/"


SHARED: Final = (
    Option(
        "kubeconfig",
        None,
        "how to reach the API server",
        path,
        shared=True,
        shows="`KUBECONFIG`, else `~/.kube/config`, else the pod's service account",
    ),
    Option(
        "namespace", names.DEFAULT_NAMESPACE, "vramshare's namespace", text, shared=True, variables=("POD_NAMESPACE",)
    ),
    Option(
        "host-dir",
        names.DEFAULT_HOST_DIR,
        "folder on GPU nodes with the interposer, which GPU containers mount",
        _folder,
        shared=True,
    ),
    Option("log-level", "info", "quieter lines are dropped", one_of(*logs.LEVELS), shared=True, reloads=True),
    Option(
        "log-format", "json", "for machines, or `console` for people", one_of(*logs.FORMATS), shared=True, reloads=True
    ),
)
