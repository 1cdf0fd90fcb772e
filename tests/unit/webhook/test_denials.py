"""From errors to what the user sees."""

import pytest

from allocator.api.errors import (
    ConflictError,
    MustWaitError,
    NoCapacityError,
    NotReadyError,
    OverQuotaError,
    RequestError,
)
from webhook.denials import denial
from webhook.review import ReviewError


def test_wrong_request_is_invalid_and_told_as_it_is() -> None:
    """The message already names field, value and remedy."""
    error = RequestError(where="annotation a", value="b", problem="bad", remedy="write c", container="main")
    got = denial(error)
    assert (got.allowed, got.code, got.reason) == (False, 422, "Invalid")
    assert got.message == "container 'main': annotation a is 'b': bad; write c"
    assert got.retry_after is None


def test_no_capacity_is_too_many_requests() -> None:
    """Nothing is wrong with the request; there is only no room."""
    got = denial(NoCapacityError("needs 2Gi"))
    assert (got.code, got.reason, got.message) == (429, "TooManyRequests", "no GPU capacity now: needs 2Gi")


def test_over_quota_is_forbidden() -> None:
    """As the API server answers where its own quotas are used up."""
    got = denial(OverQuotaError("over the namespace's quota: needs 2Gi"))
    assert (got.code, got.reason, got.message) == (403, "Forbidden", "over the namespace's quota: needs 2Gi")


def test_a_pod_that_must_wait_and_cannot_is_told_how_it_could() -> None:
    """Only a pod that names its node gets here."""
    got = denial(MustWaitError("its namespace has a GPU quota"))
    assert got.code == 429
    assert got.message.startswith("its namespace has a GPU quota; a pod with spec.nodeName cannot wait")


@pytest.mark.parametrize("error", [ConflictError("busy"), NotReadyError("unseen"), TimeoutError()])
def test_what_passes_soon_asks_for_another_try(error: Exception) -> None:
    """Clients wait a second and try again by themselves."""
    got = denial(error)
    assert (got.allowed, got.code, got.reason, got.retry_after) == (False, 503, "ServiceUnavailable", 1)
    assert got.message


def test_garbage_is_a_bad_request() -> None:
    """Only somebody else than an API server sends it."""
    assert (denial(ReviewError("no")).code, denial(ReviewError("no")).message) == (400, "no")


def test_own_faults_are_told_without_their_insides() -> None:
    """The user learns whose fault it is; values of other pods stay in the log."""
    got = denial(KeyError("secret"))
    assert (got.allowed, got.code) == (False, 500)
    assert "secret" not in got.message
    assert "KeyError" in got.message
