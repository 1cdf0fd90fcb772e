"""How far a Deployment's old and new ReplicaSets are to be scaled next. Pure."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters that spell no words, as in real template hashes."""
HASH_LABEL = "pod-template-hash"


@dataclasses.dataclass(frozen=True)
class Fleet:
    """One ReplicaSet of a Deployment, in numbers."""

    name: str
    wanted: int
    """spec.replicas."""
    present: int
    """status.replicas."""
    available: int


def template_hash(template: Mapping[str, Any]) -> str:
    """Return a short name for a pod template."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


def bounds(strategy: Mapping[str, Any] | None, replicas: int) -> tuple[int, int]:
    """Return (most surplus pods, most unavailable pods) of a rolling update."""
    rolling = (strategy or {}).get("rollingUpdate") or {}
    surge = _resolve(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _resolve(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return surge, unavailable if surge or unavailable else 1


def _resolve(value: int | str, replicas: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        exact = int(value[:-1]) * replicas / 100
        return math.ceil(exact) if up else math.floor(exact)
    return int(value)


def next_scale(
    new: Fleet, old: Sequence[Fleet], *, replicas: int, strategy: Mapping[str, Any] | None
) -> dict[str, int]:
    """Return the ReplicaSets to scale and to what.

    Recreate: the new one grows when nothing of the old ones is left. RollingUpdate: all together never exceed replicas
    plus surge, and never fewer than replicas minus unavailable are available.
    """
    if (strategy or {}).get("type") == "Recreate":
        if any(each.wanted or each.present for each in old):
            return {each.name: 0 for each in old if each.wanted}
        return _changed(new, replicas)
    surge, unavailable = bounds(strategy, replicas)
    total = new.wanted + sum(each.wanted for each in old)
    if new.wanted > replicas:
        return _changed(new, replicas)
    grown = min(replicas, new.wanted + max(0, replicas + surge - total))
    if not any(each.wanted for each in old):
        return _changed(new, replicas)
    spare = new.available + sum(each.available for each in old) - (replicas - unavailable)
    return _changed(new, grown) | _shrunk(old, spare)


def _shrunk(old: Sequence[Fleet], spare: int) -> dict[str, int]:
    """Scale old ReplicaSets down: pods that are not available cost nothing, available ones only what is spare."""
    found: dict[str, int] = {}
    for each in old:
        broken = max(0, each.wanted - each.available)
        healthy = max(0, min(each.wanted - broken, spare))
        spare -= healthy
        if broken + healthy:
            found[each.name] = each.wanted - broken - healthy
    return found


def _changed(fleet: Fleet, wanted: int) -> dict[str, int]:
    return {fleet.name: wanted} if fleet.wanted != wanted else {}
