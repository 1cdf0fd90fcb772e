"""pods/binding: a scheduler's choice of node, made once."""

from typing import Any

from devcluster.apiserver import codec, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import Attributes, Machine
from devcluster.apiserver.rest import reading, storing
from devcluster.apiserver.store import Entry

Json = dict[str, Any]


async def bind(call: Call, machine: Machine) -> Json:
    """Bind the pod to the node that the body names.

    Raises:
        ApiError: 404, 409 when it is bound, gated or being deleted already, 422 for a body without a node.
    """
    body = codec.parse_body(call)
    target = body.get("target") or {}
    if target.get("kind") not in {None, "", "Node"} or not target.get("name"):
        cause = status.Cause("target.name", "Required value", "FieldValueRequired")
        raise status.invalid("", "Binding", call.target.name, [cause])
    await _admit(body, call, machine)
    for _ in range(6):
        pod = reading.find(machine, call.resource, call.target.namespace, call.target.name)
        _check(pod, body)
        bound = _bound(pod.obj, str(target["name"]), body.get("metadata") or {}, machine)
        if storing.store_change(machine, pod, bound, dry_run=call.dry_run, resource=call.resource, conditional=False):
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    raise status.conflict("", "pods/binding", call.target.name)


async def _admit(body: Json, call: Call, machine: Machine) -> None:
    meta = {"name": call.target.name, "namespace": call.target.namespace, **(body.get("metadata") or {})}
    options: Json = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
    if call.dry_run:
        options["dryRun"] = ["All"]
    attributes = Attributes(
        operation="CREATE",
        resource=call.resource,
        subresource=call.target.subresource,
        namespace=call.target.namespace,
        name=call.target.name,
        obj={"kind": "Binding", "apiVersion": "v1", **body, "metadata": meta},
        old=None,
        options=options,
        dry_run=call.dry_run,
        user=call.user,
        warnings=call.warnings,
        audit=call.audit,
    )
    await machine.admission.mutate(attributes)
    await machine.admission.validate(attributes)


def _check(pod: Entry, body: Json) -> None:
    spec, meta = pod.obj["spec"], pod.obj["metadata"]
    wanted = (body.get("metadata") or {}).get("uid")
    why = ""
    if wanted and wanted != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta['uid']}"
    elif "deletionTimestamp" in meta:
        why = f"pod {pod.name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {pod.name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {pod.name} has non-empty .spec.schedulingGates"
    if why:
        raise status.conflict("", "pods/binding", pod.name, why=why)


def _bound(pod: Json, node: str, given: Json, machine: Machine) -> Json:
    """The pod on its node; labels and annotations of the binding are merged into it."""
    meta = dict(pod["metadata"])
    for key in ("annotations", "labels"):
        if given.get(key):
            meta[key] = {**meta.get(key, {}), **given[key]}
    state = dict(pod.get("status") or {})
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": machine.now()}
    others = [condition for condition in state.get("conditions") or () if condition["type"] != "PodScheduled"]
    state["conditions"] = [*others, scheduled]
    return {**pod, "metadata": meta, "spec": {**pod["spec"], "nodeName": node}, "status": state}
