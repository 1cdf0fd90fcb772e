"""Checks of pods: Pod Security in the way, leftovers of HAMi, what waits and why, ledgers against pods."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from allocator.api import names
from allocator.api.grant import Grant
from allocator.cli.doctor.cluster import Cluster
from allocator.cli.doctor.finding import (
    Check,
    Json,
    Trouble,
    annotations_of,
    labels_of,
    name_of,
    namespace_of,
    some,
    warning,
)
from allocator.core.ledger import overbooked

_STRICT: Final = frozenset({"baseline", "restricted"})
LONG: Final = timedelta(minutes=15)
"""A pod that has waited so long is worth a line of its own."""
UNSEEN: Final = timedelta(minutes=5)
"""A grant whose pod has not appeared in this time should have been given back."""
_HAMI: Final = ("hami-scheduler", "hami-device-plugin", "hami-webhook", "vgpu.hami.io", "projecthami/", "4paradigm/")
"""In names and images of what HAMi installs; a user's own workload may well be called `hami-worker`."""
_IMAGE_VARIABLE: Final = "VRAMSHARE_WEBHOOK_INTERPOSER_IMAGE"
"""By which the manifests tell the webhook the image."""
_DEVICE_PLUGIN: Final = "nvidia-device-plugin"
_ENDED: Final = frozenset({"Succeeded", "Failed"})


def _pod_security(cluster: Cluster) -> Iterator[Trouble]:
    """Namespaces in which the usual way of delivery is forbidden."""
    for one in cluster.namespaces:
        name, level = name_of(one), labels_of(one).get(names.POD_SECURITY_LABEL, "")
        if name not in cluster.opted_in or level not in _STRICT:
            continue
        how = annotations_of(one).get(names.DELIVERY, "auto")
        if how == "host":
            remedy = f"kubectl annotate --overwrite namespace {name} {names.DELIVERY}=auto"
            yield Trouble(
                f"namespace {name} is under Pod Security {level} and asks for delivery by host folder", remedy
            )
        elif not _has_image(cluster):
            remedy = "start the webhook with --interposer-image, or set the namespace's level to privileged"
            yield Trouble(f"namespace {name} is under Pod Security {level}: its GPU pods are refused", remedy)


def _has_image(cluster: Cluster) -> bool:
    """Whether the webhook was told an image that has the interposer; taken for granted where it runs outside."""
    template = ((cluster.webhook or {}).get("spec") or {}).get("template") or {}
    found = (template.get("spec") or {}).get("containers") or ()
    given = [arg for one in found for arg in one.get("args") or ()]
    given += [f"{variable.get('name')}=" for one in found for variable in one.get("env") or () if variable.get("value")]
    return cluster.outside or any(one.startswith(("--interposer-image=", f"{_IMAGE_VARIABLE}=")) for one in given)


def _hami(cluster: Cluster) -> Iterator[Trouble]:
    """Others that hand out the same GPUs."""
    for one in cluster.registrations:
        hooks = " ".join(str(hook.get("name", "")) for hook in one.get("webhooks") or ())
        if _of_hami(f"{name_of(one)} {hooks}"):
            remedy = f"kubectl delete mutatingwebhookconfiguration {name_of(one)}"
            yield Trouble(f"HAMi's webhook {name_of(one)} is still registered: it rewrites the same pods", remedy)
    for kind, found in (("deployment", cluster.deployments), ("daemonset", cluster.daemonsets)):
        for one in found:
            told = f"{name_of(one)} {' '.join(_images(one))}"
            remedy = f"kubectl -n {namespace_of(one)} delete {kind} {name_of(one)}"
            if _of_hami(told):
                yield Trouble(f"HAMi's {kind} {namespace_of(one)}/{name_of(one)} still runs", remedy)
            elif _DEVICE_PLUGIN in told and kind == "daemonset":
                problem = f"{namespace_of(one)}/{name_of(one)} hands out whole GPUs that vramshare hands out in slices"
                yield warning(f"{problem}; keep it off the nodes that have an agent", remedy)


def _of_hami(text: str) -> bool:
    return any(word in text.lower() for word in _HAMI)


def _images(workload: Json) -> list[str]:
    spec = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    return [str(one.get("image", "")) for one in spec.get("containers") or ()]


def _queue(cluster: Cluster) -> Iterator[Trouble]:
    """What waits for long, and why."""
    for one in _waiting(cluster):
        since = _moment(one.get("metadata", {}).get("creationTimestamp"))
        if since is None or cluster.now - since < LONG:
            continue
        minutes = (cluster.now - since).total_seconds() / 60
        why = annotations_of(one).get(names.REASON, "no reason is known")
        remedy = f"vramshare explain -n {namespace_of(one)} {name_of(one)}"
        yield warning(f"pod {namespace_of(one)}/{name_of(one)} has waited for {minutes:.0f} min: {why}", remedy)


def _waiting(cluster: Cluster) -> list[Json]:
    gates = ((one, [gate.get("name") for gate in one["spec"].get("schedulingGates") or ()]) for one in cluster.pods)
    return [one for one, found in gates if names.GATE in found]


def _waits(cluster: Cluster) -> str:
    found = _waiting(cluster)
    if not found:
        return "nothing waits"
    reasons = Counter(annotations_of(one).get(names.REASON, "no reason yet") for one in found)
    return f"waiting: {len(found)}, none for long: {some(f'{why} ({count})' for why, count in reasons.most_common())}"


def _ledgers(cluster: Cluster) -> Iterator[Trouble]:
    """The books against the pods: each pod's grant is booked, each grant has its pod, no GPU is overbooked."""
    logs = f"kubectl -n {cluster.system} logs -l app.kubernetes.io/name={names.WEBHOOK_SERVICE} --prefix --tail=100"
    for node, ledger in sorted(cluster.ledgers.items()):
        describe = f"kubectl -n {cluster.system} describe configmap {names.ledger_name(node)}"
        for key, entry in ledger.unreadable.items():
            yield Trouble(f"entry {key} of the ledger of {node} cannot be read: {entry.problem}", describe)
        inventory = cluster.inventories.get(node)
        for problem in overbooked(ledger, inventory) if inventory else ():
            yield Trouble(f"overbooked: {problem}", describe)
    booked = {key: grant for ledger in cluster.ledgers.values() for key, grant in ledger.grants.items()}
    for one in cluster.pods:
        key = annotations_of(one).get(names.ALLOCATION_ID, "")
        if annotations_of(one).get(names.STATUS) == names.STATUS_ALLOCATED and not _over(one) and key not in booked:
            yield Trouble(f"pod {namespace_of(one)}/{name_of(one)} holds grant {key}, which no ledger has", logs)
    uids = {str(one["metadata"].get("uid", "")) for one in cluster.pods if not _over(one)}
    for key, grant in sorted(booked.items()):
        if problem := _left_over(grant, uids, cluster.now):
            yield warning(f"grant {key} of {grant.namespace}/{grant.pod} on {grant.allocation.node} {problem}", logs)


def _left_over(grant: Grant, uids: set[str], now: datetime) -> str:
    """What is odd about a grant; empty: nothing."""
    if grant.releasing is not None:
        return "waits for the node's agent to confirm that nothing of it is left"
    if grant.uid:
        return "" if grant.uid in uids else "is booked, and its pod is gone"
    return "is booked, and its pod never appeared" if now - grant.granted > UNSEEN else ""


def _over(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in _ENDED


def _moment(stamp: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp or "")
    except ValueError:
        return None


def _books(cluster: Cluster) -> str:
    grants = sum(len(one.grants) for one in cluster.ledgers.values())
    return f"grants: {grants}, each with its pod; no GPU overbooked"


CHECKS: Final = (
    Check("pod-security", ("namespaces", "deployments"), _pod_security, lambda _: "in nobody's way"),
    Check("hami", ("registrations", "deployments", "daemonsets"), _hami, lambda _: "nobody else hands out GPUs"),
    Check("queue", ("pods",), _queue, _waits),
    Check("ledger", ("configmaps", "pods"), _ledgers, _books),
)
