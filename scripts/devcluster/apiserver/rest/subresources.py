"""Subresources: status, scale, binding, eviction, log, token, finalize and the pod's own."""

from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Any

from devcluster.apiserver import codec, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.identity import Tokens
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.rest import binding, changing, eviction, reading, scaling
from devcluster.apiserver.store import Entry

Json = dict[str, Any]
_TOKEN_SECONDS = 3600


def get(call: Call, machine: Machine) -> Entry:
    """GET of a subresource.

    Raises:
        ApiError: 404.
    """
    entry = reading.get(call, machine)
    if call.target.subresource is not None and call.target.subresource.name == "scale":
        return scaling.scale_of(entry, call.resource)
    return entry


async def write(call: Call, machine: Machine, verb: str, tokens: Tokens) -> tuple[int, Entry | Json]:
    """A write to a subresource.

    Raises:
        ApiError: whatever is wrong with it.
    """
    name = call.target.subresource.name if call.target.subresource else ""
    if name == "binding":
        return 201, await binding.bind(call, machine)
    if name == "eviction":
        return 201, await eviction.evict(call, machine)
    if name == "token":
        return 201, token_request(call, machine, tokens)
    if name == "scale":
        return 200, await scaling.write(call, machine, verb)
    entry, _ = await (changing.update if verb == "update" else changing.patch)(call, machine)
    return 200, entry


def token_request(call: Call, machine: Machine, tokens: Tokens) -> Json:
    """A token of a service account.

    Raises:
        ApiError: 404 for an unknown account.
    """
    account = reading.find(machine, call.resource, call.target.namespace, call.target.name)
    spec = codec.parse_body(call).get("spec") or {}
    seconds = int(spec.get("expirationSeconds") or _TOKEN_SECONDS)
    expires = machine.clock() + timedelta(seconds=seconds)
    audiences = spec.get("audiences") or ["https://kubernetes.default.svc"]
    token = tokens.issue_for_account(
        namespace=account.namespace,
        name=account.name,
        uid=account.obj["metadata"]["uid"],
        audiences=audiences,
        expires=expires,
        bound=_bound(spec.get("boundObjectRef"), account.namespace, machine),
    )
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": account.name, "namespace": account.namespace, "creationTimestamp": machine.now()},
        "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")},
    }


_BOUND = {"Pod": "/pods", "Secret": "/secrets", "Node": "/nodes"}


def _bound(reference: Mapping[str, Any] | None, namespace: str, machine: Machine) -> Json:
    """The claims that tie a token to a pod, secret or node. A pod's token names its node too.

    Raises:
        ApiError: 400 for another kind, 404 for an unknown object, 409 for one of another uid.
    """
    if not reference:
        return {}
    kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
    if kind not in _BOUND:
        raise status.bad_request(f"cannot bind token for serviceaccount to object type {kind}")
    found = machine.store.collection(_BOUND[kind]).get("" if kind == "Node" else namespace, name)
    if found is None:
        raise status.not_found("", f"{kind.lower()}s", name)
    uid = found.obj["metadata"]["uid"]
    if reference.get("uid") and reference["uid"] != uid:
        why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record ({uid})"
        raise status.conflict("", f"{kind.lower()}s", name, why=why)
    claims: Json = {kind.lower(): {"name": name, "uid": uid}}
    if kind == "Pod" and (node := found.obj["spec"].get("nodeName")):
        entry = machine.store.collection("/nodes").get("", node)
        claims["node"] = {"name": node, **({"uid": entry.obj["metadata"]["uid"]} if entry else {})}
    return claims


async def log(call: Call, machine: Machine, source: Any) -> AsyncGenerator[bytes, None]:
    """A container's log, from the kubelet of the pod's node.

    Raises:
        ApiError: 404, 400 for an unknown container or a pod without a node.
    """
    place = container_place(call, machine)
    if source is None:
        raise status.internal(f"no kubelet serves logs of node {place['node']}")
    async for chunk in source(**place, query=call.query):
        yield chunk


def container_place(call: Call, machine: Machine) -> dict[str, str]:
    """Which container is meant, and where it runs: node, namespace, pod, container.

    Raises:
        ApiError: 404, 400 for an unknown container or a pod without a node.
    """
    entry = reading.get(call, machine)
    spec = entry.obj["spec"]
    container = _container(call, spec, entry.name)
    if not spec.get("nodeName"):
        raise status.bad_request(f"pod {entry.name} does not have a host assigned")
    return {"node": spec["nodeName"], "namespace": entry.namespace, "pod": entry.name, "container": container}


def _container(call: Call, spec: Json, pod: str) -> str:
    names = [c["name"] for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key, ())]
    asked = call.query.get("container", "")
    if asked and asked not in names:
        raise status.bad_request(f"container {asked} is not valid for pod {pod}")
    if asked:
        return asked
    if len(spec["containers"]) > 1:
        choices = " ".join(c["name"] for c in spec["containers"])
        raise status.bad_request(f"a container name must be specified for pod {pod}, choose one of: [{choices}]")
    return str(spec["containers"][0]["name"])
