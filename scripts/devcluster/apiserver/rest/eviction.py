"""pods/eviction: a deletion that PodDisruptionBudgets may refuse."""

from dataclasses import replace
from typing import Any

from devcluster.apiserver import codec, selectors, status
from devcluster.apiserver.call import Call, Target
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.rest import deleting, reading
from devcluster.apiserver.store import Entry

Json = dict[str, Any]
_BUDGETS = "policy/poddisruptionbudgets"


async def evict(call: Call, machine: Machine) -> Json:
    """Delete the pod unless a budget forbids it now.

    Raises:
        ApiError: 404, 429 when a budget is spent, 500 when several budgets match.
    """
    body = codec.parse_body(call)
    pod = reading.find(machine, call.resource, call.target.namespace, call.target.name)
    options = deleting.options_of(call, body.get("deleteOptions") or {})
    if _running(pod):
        _spend(pod, machine, dry_run=options.dry_run)
    deletion = replace(call, target=Target(call.resource, call.target.namespace, call.target.name))
    await deleting.remove(pod, options, deletion, machine)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _running(pod: Entry) -> bool:
    """Does its end disrupt anything?"""
    phase = (pod.obj.get("status") or {}).get("phase")
    return phase not in {"Succeeded", "Failed", "Pending"} and "deletionTimestamp" not in pod.obj["metadata"]


def _spend(pod: Entry, machine: Machine, *, dry_run: bool) -> None:
    """Take one disruption from the budget that covers the pod."""
    labels = pod.obj["metadata"].get("labels") or {}
    budgets = machine.store.collection(_BUDGETS)
    covering = [
        budget
        for budget in budgets.entries(pod.namespace)
        if selectors.selector_matches((budget.obj.get("spec") or {}).get("selector"), labels)
    ]
    if not covering:
        return
    if len(covering) > 1:
        raise status.internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    budget = covering[0]
    state = dict(budget.obj.get("status") or {})
    allowed = int(state.get("disruptionsAllowed", 0))
    if allowed <= 0:
        raise _refusal(budget, state)
    if not dry_run:
        disrupted = {**(state.get("disruptedPods") or {}), pod.name: machine.now()}
        new = {**budget.obj, "status": {**state, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}}
        budgets.write(new, namespace=budget.namespace, name=budget.name, expected=budget)


def _refusal(budget: Entry, state: Json) -> status.ApiError:
    wanted, healthy = state.get("desiredHealthy", 0), state.get("currentHealthy", 0)
    cause = {
        "reason": "DisruptionBudget",
        "message": f"The disruption budget {budget.name} needs {wanted} healthy pods and has {healthy} currently",
    }
    return status.too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", causes=[cause])
