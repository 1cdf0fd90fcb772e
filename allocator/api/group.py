"""Pods that are granted together or not at all, as their annotations name them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from allocator.api import names
from allocator.api.errors import RequestError

LARGEST_GROUP: Final = 1000
_NAME: Final = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
"""As a label's value, so that the same word can also be a label."""


@dataclass(frozen=True, slots=True)
class Group:
    """A gang: `size` pods of one namespace that are of use only together.

    Attributes:
        name: the same for all its pods.
        size: how many there must be before any of them is granted. More may join later, one by one.
    """

    name: str
    size: int


def parse_group(annotations: Mapping[str, str]) -> Group | None:
    """Read a pod's group.

    Args:
        annotations: the pod's.

    Returns:
        The group; None: the pod is granted alone.

    Raises:
        RequestError: a name or a size is missing or makes no sense.
    """
    name, size = annotations.get(names.GROUP), annotations.get(names.GROUP_SIZE)
    if name is None and size is None:
        return None
    if name is None:
        problem = "it says how many pods belong together, but not which"
        raise _error(names.GROUP_SIZE, size, problem, f"add {names.GROUP} with the group's name to each of them")
    if not _NAME.fullmatch(name):
        problem = "no name for a group"
        raise _error(names.GROUP, name, problem, "write up to 63 letters, digits and dashes, such as train-7")
    if size is None:
        problem = "it does not say how many pods the group has"
        raise _error(names.GROUP, name, problem, f"add {names.GROUP_SIZE} with their number, such as 4")
    text = size.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not 1 <= int(text) <= LARGEST_GROUP:
        problem = f"a group has from 1 to {LARGEST_GROUP} pods"
        raise _error(names.GROUP_SIZE, size, problem, "write their number, such as 4")
    return Group(name=name, size=int(text))


def _error(key: str, value: object, problem: str, remedy: str) -> RequestError:
    return RequestError(where=f"annotation {key}", value=value, problem=problem, remedy=remedy)
