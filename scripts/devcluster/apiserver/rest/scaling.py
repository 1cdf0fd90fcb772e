"""The scale subresource: replicas of a workload seen as autoscaling/v1 Scale."""

from dataclasses import replace
from typing import Any

import orjson

from devcluster.apiserver import codec, negotiate, patching, status
from devcluster.apiserver.call import Call, Target
from devcluster.apiserver.machine import Machine, fresh, loose_entry
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.rest import changing, reading
from devcluster.apiserver.store import Entry

Json = dict[str, Any]


def scale_of(entry: Entry, resource: Resource) -> Entry:
    """The workload's scale."""
    meta, spec = entry.obj["metadata"], entry.obj.get("spec") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    state: Json = {"replicas": (entry.obj.get("status") or {}).get("replicas", 0)}
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels", {}) if resource.group else selector
    if labels:
        state["selector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    scale = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": state,
    }
    return loose_entry(scale)


async def write(call: Call, machine: Machine, verb: str) -> Entry:
    """Set replicas by PUT or PATCH of the scale.

    Raises:
        ApiError: 404, 409, 422 for negative replicas.
    """
    resource = call.resource
    media = "" if verb == "update" else negotiate.body_type(call.headers.get("Content-Type", ""), patch=True)
    document = codec.parse_body(call) if verb == "update" else changing.parse_patch(call.body)
    declared = machine.schema.type_of("io.k8s.api.autoscaling.v1.Scale")
    whole = replace(call, target=Target(resource, call.target.namespace, call.target.name))

    async def make(old: Json) -> Json:
        current = reading.find(machine, resource, call.target.namespace, call.target.name)
        scale = fresh(scale_of(current, resource))
        new = document if not media else _patched(scale, document, media)
        new = codec.typed(dict(new), declared, call, kind="Scale", version="autoscaling/v1")
        replicas = (new.get("spec") or {}).get("replicas", 0)
        if replicas < 0:
            cause = status.Cause("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")
            raise status.invalid("autoscaling", "Scale", call.target.name, [cause])
        old["spec"]["replicas"] = replicas
        if new["metadata"].get("resourceVersion"):
            old["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"]
        return old

    return scale_of(await changing.change(whole, machine, make), resource)


def _patched(scale: Json, document: Any, media: str) -> Json:
    try:
        if media == "application/json-patch+json":
            result: Json = patching.json_patch(orjson.loads(orjson.dumps(scale)), document)
        else:
            result = patching.merge_patch(scale, document)
    except patching.PatchError as error:
        raise status.bad_request(str(error)) from error
    return result
