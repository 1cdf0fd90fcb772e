"""Pods that may use GPUs without a grant: monitoring, validation of the driver, ourselves. Pure.

Known by configuration, as `namespace/name` with shell patterns. A pattern names its namespace: a pod's name is its
owner's choice, and nobody becomes monitoring by calling himself so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

DEFAULT: Final = (
    "gpu-operator/*",
    "nvidia-gpu-operator/*",
    "gpu-operator-resources/*",
    "kube-system/nvidia-*",
    "kube-system/dcgm-exporter*",
    "dcgm-exporter/*",
)
"""Where NVIDIA's operator (OpenShift's and MicroK8s' too) and the usual charts put DCGM and validators."""


@dataclass(frozen=True, slots=True)
class Known:
    """A list of patterns."""

    patterns: tuple[str, ...]

    def __call__(self, pod: str) -> bool:
        """Whether a pod, `namespace/name`, is on it. One whose name is not known is not."""
        return any(fnmatchcase(pod, pattern) for pattern in self.patterns)


def pattern(text: str) -> str:
    """Check a pattern.

    Raises:
        ValueError: it names no namespace, or all of them.
    """
    namespace, slash, name = text.strip().partition("/")
    if not slash or not name or not namespace.strip("*?"):
        raise ValueError(
            f"{text!r} would let pods of any namespace pass; write NAMESPACE/POD, such as monitoring/dcgm-*"
        )
    return text.strip()


def known(namespace: str, more: Iterable[str]) -> Known:
    """The default list, our own namespace, and what the configuration adds."""
    return Known(patterns=(*DEFAULT, f"{namespace}/*", *more))
