"""Who is granted together: the waiting pods in units, of one pod or of a group that is complete.

A group of size n starts with n of its pods at once. From then on its pods come and go one by one: a worker that
died is replaced, and pods beyond n join.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from allocator.api.group import Group
from allocator.core.queue import Turn, Waiting


@dataclass(frozen=True, slots=True)
class Unit:
    """Pods that are granted together or not at all.

    Attributes:
        members: the pods, first come first.
        group: their group; None: a pod of its own.
        missing: how many more pods the group needs before any is granted.
        size: how many it starts with: of pods that do not agree the largest number.
    """

    members: tuple[Waiting, ...]
    group: Group | None = None
    missing: int = 0
    size: int = 1

    @property
    def turn(self) -> Turn:
        """Its place in the order: its first pod's."""
        return self.members[0].turn

    @property
    def waits(self) -> str:
        """Why an incomplete group waits, in a sentence; empty: it is complete."""
        if not self.missing or self.group is None:
            return ""
        there = self.size - self.missing
        return f"group {self.group.name} starts with {self.size} pods, and {there} of them are here"


def units(waiting: Sequence[tuple[Waiting, Group | None]], admitted: Callable[[str, str], int]) -> list[Unit]:
    """The waiting pods in units, first come first.

    Args:
        waiting: pods in order, each with its group.
        admitted: how many living pods of a namespace's group hold grants already.
    """
    groups: dict[tuple[str, str], list[tuple[Waiting, Group]]] = {}
    for one, group in waiting:
        if group is not None:
            groups.setdefault((one.namespace, group.name), []).append((one, group))
    found: list[Unit] = []
    begun: set[tuple[str, str]] = set()
    for one, group in waiting:
        if group is None:
            found.append(Unit(members=(one,)))
            continue
        key = (one.namespace, group.name)
        present = admitted(*key)
        size = max(each.size for _, each in groups[key])
        if present >= size:
            found.append(Unit(members=(one,), group=group))
        elif key not in begun:
            begun.add(key)
            found.append(_start(groups[key], group, size=size, need=size - present))
    return found


def _start(pods: Sequence[tuple[Waiting, Group]], group: Group, *, size: int, need: int) -> Unit:
    """The unit with which a group starts. Pods beyond it join later, one by one."""
    members = tuple(one for one, _ in pods)
    if len(members) < need:
        return Unit(members=members, group=group, missing=need - len(members), size=size)
    return Unit(members=members[:need], group=group, size=size)
