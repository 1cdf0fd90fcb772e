"""Asking pods to go."""

import pytest

from allocator.kube import PODS, Outcome, errors, evict
from tests.unit.kube.fakeapi import FakeApi


def api_with_pod(*, node: str = "n") -> FakeApi:
    """One pod, `p` with UID `u`."""
    api = FakeApi()
    spec = {"nodeName": node} if node else {}
    api.put(PODS, {"metadata": {"name": "p", "uid": "u"}, "spec": spec}, namespace="team")
    return api


async def test_a_pod_is_asked_to_go():
    """It gets its time to end."""
    api = api_with_pod()
    assert await evict(api, namespace="team", name="p", uid="u") is Outcome.EVICTED
    assert "deletionTimestamp" in api.see(PODS, "p", namespace="team")["metadata"]


async def test_a_disruption_budget_is_respected():
    """Later is an answer, no error."""
    api = api_with_pod()
    api.protected.add("p")
    assert await evict(api, namespace="team", name="p", uid="u") is Outcome.LATER
    assert "deletionTimestamp" not in api.see(PODS, "p", namespace="team")["metadata"]


async def test_a_successor_of_the_same_name_is_spared():
    """A UID names one pod for ever."""
    api = api_with_pod()
    assert await evict(api, namespace="team", name="p", uid="former") is Outcome.GONE
    assert "deletionTimestamp" not in api.see(PODS, "p", namespace="team")["metadata"]
    assert await evict(api, namespace="team", name="other", uid="x") is Outcome.GONE


async def test_a_conflict_over_the_very_pod_means_later():
    """Somebody else was counting the same budget."""
    api = api_with_pod()

    def fault(verb, *_):
        if verb == "POST":
            raise errors.StaleError("conflict", status=409)

    api.before = fault
    assert await evict(api, namespace="team", name="p", uid="u") is Outcome.LATER


async def test_a_refusal_is_told():
    """Missing rights are somebody's to mend."""
    api = api_with_pod()

    def fault(*_):
        raise errors.ForbiddenError("no", status=403)

    api.before = fault
    with pytest.raises(errors.ForbiddenError):
        await evict(api, namespace="team", name="p", uid="u")
