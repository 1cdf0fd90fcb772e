"""A pod's phase and conditions."""

import pytest
from devcluster.kubelet.records import Ended, Record, Running, State, Waiting
from devcluster.kubelet.status import Place, phase_of, pod_status

OK, BAD = Ended(0, "Completed", 1, 2), Ended(1, "Error", 1, 2)
UP, WAIT = Running(1), Waiting("ContainerCreating")


def main(state: State, last: Ended | None = None) -> Record:
    """A main container in this state."""
    return Record("m", "i", "main", state, last)


def init(state: State) -> Record:
    """An init container in this state."""
    return Record("i", "i", "init", state)


@pytest.mark.parametrize(
    ("records", "policy", "phase"),
    [
        ([main(WAIT)], "Always", "Pending"),
        ([main(UP)], "Always", "Running"),
        ([main(UP), main(WAIT)], "Always", "Pending"),
        ([main(Waiting("CrashLoopBackOff"), BAD)], "Always", "Running"),
        ([main(OK)], "Never", "Succeeded"),
        ([main(OK), main(BAD)], "Never", "Failed"),
        ([main(BAD)], "OnFailure", "Running"),
        ([main(OK)], "OnFailure", "Succeeded"),
        ([init(UP), main(WAIT)], "Always", "Pending"),
        ([init(BAD), main(WAIT)], "Never", "Failed"),
        ([init(OK), main(UP)], "Never", "Running"),
        ([Record("s", "i", "sidecar", UP), main(OK)], "Never", "Succeeded"),
    ],
)
def test_phase(records: list[Record], policy: str, phase: str) -> None:
    """The phase follows from the containers and the restart policy alone."""
    assert phase_of(records, policy) == phase


def conditions(record: Record, before: dict[str, object], now: float = 99) -> dict[str, dict[str, str]]:
    """The conditions of a pod with this container, by type."""
    status = pod_status([record], phase="Running", place=Place("h", "p", 0), before=before, now=now)
    return {condition["type"]: condition for condition in status["conditions"]}


def test_an_unready_container_is_named() -> None:
    """Ready is false and says which container is to blame."""
    ready = conditions(main(WAIT), {})["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [m]"


def test_transition_times_stay_while_the_status_stays() -> None:
    """Only a change of a condition moves its time."""
    before = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2000-01-01T00:00:00Z"}]}
    found = conditions(main(UP), before)
    assert found["Ready"]["lastTransitionTime"] == "2000-01-01T00:00:00Z"
    assert found["ContainersReady"]["lastTransitionTime"] == "1970-01-01T00:01:39Z"
