"""What the scheduler reads of a pod: its scheduler, runtime class, toleration, gate and pin."""

from collections.abc import Mapping
from typing import Any, Final

from allocator.api import names
from allocator.core.pin import pinned_affinity
from webhook.mutation.outcome import Notes
from webhook.mutation.shapes import Json, spec_of, with_spec
from webhook.settings import MutationSettings

TOLERATION: Final = {"key": names.GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"}
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_GATE: Final = {"name": names.GATE}


def with_default_scheduler(pod: Mapping[str, Any], notes: Notes) -> Json:
    """HAMi's scheduler replaced: where vramshare is, it need not be."""
    if spec_of(pod).get("schedulerName") != names.HAMI_SCHEDULER:
        return dict(pod)
    notes.add(f"schedulerName {names.HAMI_SCHEDULER} is replaced by {names.DEFAULT_SCHEDULER}")
    return with_spec(pod, schedulerName=names.DEFAULT_SCHEDULER)


def on_gpu_nodes(pod: Mapping[str, Any], settings: MutationSettings) -> Json:
    """Runtime class and toleration, each where the settings say so and the pod has none."""
    spec = spec_of(pod)
    changes: Json = {}
    if settings.runtime_class and not spec.get("runtimeClassName"):
        changes["runtimeClassName"] = settings.runtime_class
    tolerations = list(spec.get("tolerations") or ())
    if settings.tolerate_gpu_taint and not any(_tolerates(one) for one in tolerations):
        changes["tolerations"] = [*tolerations, dict(TOLERATION)]
    return with_spec(pod, **changes)


def gated(pod: Mapping[str, Any]) -> bool:
    """Whether our gate holds the pod."""
    return any(gate.get("name") == names.GATE for gate in spec_of(pod).get("schedulingGates") or ())


def foreign_gates(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the gates that others hold the pod by."""
    gates = (str(gate.get("name", "")) for gate in spec_of(pod).get("schedulingGates") or ())
    return tuple(name for name in gates if name != names.GATE)


def with_gate(pod: Mapping[str, Any], *, closed: bool) -> Json:
    """The pod with our gate or without; others' gates keep their places."""
    gates = list(spec_of(pod).get("schedulingGates") or ())
    if closed and not gated(pod):
        gates.append(dict(_GATE))
    elif not closed:
        gates = [gate for gate in gates if gate.get("name") != names.GATE]
    return with_spec(pod, schedulingGates=gates)


def with_pin(pod: Mapping[str, Any], node: str) -> Json:
    """The pod bound to its grant's node."""
    return with_spec(pod, affinity=pinned_affinity(spec_of(pod).get("affinity"), node))


def is_pinned(pod: Mapping[str, Any], node: str) -> bool:
    """Whether every term of the pod's node affinity names the node."""
    affinity = spec_of(pod).get("affinity")
    return bool(affinity) and pinned_affinity(affinity, node) == affinity


def without_pin(pod: Mapping[str, Any], node: str) -> Json:
    """The pod without the pin of a grant that it does not have, as a copied manifest brings it.

    A term that says nothing else goes: an empty term would match no node at all.
    """
    affinity = dict(spec_of(pod).get("affinity") or {})
    required = (affinity.get("nodeAffinity") or {}).get(_REQUIRED)
    if not required:
        return dict(pod)
    terms = [_unpinned(term, node) for term in required.get("nodeSelectorTerms") or ()]
    terms = [term for term in terms if term]
    node_affinity = {key: value for key, value in affinity["nodeAffinity"].items() if key != _REQUIRED}
    if terms:
        node_affinity[_REQUIRED] = {**required, "nodeSelectorTerms": terms}
    if node_affinity:
        affinity["nodeAffinity"] = node_affinity
    else:
        del affinity["nodeAffinity"]
    return with_spec(pod, affinity=affinity or None)


def _unpinned(term: Mapping[str, Any], node: str) -> Json:
    pin = {"key": "metadata.name", "operator": "In", "values": [node]}
    fields = [one for one in term.get("matchFields") or () if one != pin]
    rest = {key: value for key, value in term.items() if key != "matchFields"}
    return {**rest, "matchFields": fields} if fields else rest


def _tolerates(toleration: Mapping[str, Any]) -> bool:
    """Whether it covers the GPU taint whatever that taint's value is."""
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    effect = toleration.get("effect") or TOLERATION["effect"]
    return operator == "Exists" and key in {"", names.GPU_TAINT} and effect == TOLERATION["effect"]
