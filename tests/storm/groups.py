"""Pods that are granted together or not at all: seen at every gate that opens, and when all has settled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allocator.api import names
from allocator.kube import PODS
from tests.invariants import entries, ledger_node
from tests.storm.quotas import BELIEF
from tests.storm.truth import ENDED, Truth, carried

Name = tuple[str, str]
"""Of a group: its namespace and its own."""


@dataclass
class Groups:
    """What became of each group's pods."""

    truth: Truth
    _members: dict[Name, dict[str, str]] = field(default_factory=dict)
    _dropped: dict[str, float] = field(default_factory=dict)
    _broken: set[Name] = field(default_factory=set)
    _begun: set[Name] = field(default_factory=set)
    _restored: float = -BELIEF

    def restored(self) -> None:
        """A backup is back: what is known of pods and grants is not true any more."""
        self._restored = self.truth.now()

    def changed(self, key: tuple[str, str, str], before: dict | None, after: dict | None) -> None:
        """An object has changed."""
        node = ledger_node(after or before or {})
        if node:
            was, now = (entries(node, (one or {}).get("data")) for one in (before, after))
            self._dropped |= {was[gone].uid: self.truth.now() for gone in was.keys() - now.keys()}
        if key[0] == PODS.plural:
            self._pod(before, after)

    def unsettled(self) -> list[str]:
        """Groups of which a part has grants while the rest waits, though none of it has gone yet."""
        found = []
        for name in self._members:
            pods = [pod for pod in self.truth.pods() if group_of(pod) == name and lives(pod)]
            granted = [pod["metadata"]["name"] for pod in pods if carried(pod)[0]]
            if name not in self._broken and pods and 0 < len(granted) < size_of(pods[0]):
                found.append(f"group {name} of {size_of(pods[0])} is granted in part: {granted}")
        return found

    def complete(self, pod: Mapping[str, Any]) -> bool:
        """Whether a waiting pod is of no group, or enough of its group wait."""
        name = group_of(pod)
        waiting = [one for one in self.truth.pods() if group_of(one) == name and lives(one) and not carried(one)[0]]
        return not name[1] or len(waiting) >= size_of(pod)

    # --- inside ----------------------------------------------------------------------------------------------

    def _pod(self, before: dict | None, after: dict | None) -> None:
        pod = after or before or {}
        name = group_of(pod)
        if not name[1]:
            return
        self._members.setdefault(name, {})[pod["metadata"]["uid"]] = pod["metadata"]["name"]
        if after is None or not lives(after):
            self._broken.add(name)
        elif before is not None and carried(after)[0] and not carried(before)[0]:
            self._opened(name, after)

    def _opened(self, name: Name, pod: dict) -> None:
        """A gate opens: then as many have grants as the group starts with, or had them a moment ago.

        Once it has begun and some of it have gone, the others come and go one by one.
        """
        if name in self._begun & self._broken:
            return
        self._begun.add(name)
        now, uids = self.truth.now(), self._members[name]
        standing = {entry.uid for entry in self.truth.everything().values()} & uids.keys()
        lately = {uid for uid in uids if self._dropped.get(uid, -BELIEF) > now - BELIEF}
        if len(standing | lately) < size_of(pod) and now - self._restored >= BELIEF:
            self.truth.wrong(f"{pod['metadata']['name']} of group {name} is let go with {len(standing)} grants in all")


def group_of(pod: Mapping[str, Any]) -> Name:
    """Which group a pod is of; an empty name: none."""
    metadata = pod["metadata"]
    return metadata["namespace"], (metadata.get("annotations") or {}).get(names.GROUP, "")


def size_of(pod: Mapping[str, Any]) -> int:
    """With how many its group starts."""
    return int(pod["metadata"]["annotations"].get(names.GROUP_SIZE, "1"))


def lives(pod: Mapping[str, Any]) -> bool:
    """Whether it counts for its group."""
    return not pod["metadata"].get("deletionTimestamp") and pod["status"].get("phase") not in ENDED
