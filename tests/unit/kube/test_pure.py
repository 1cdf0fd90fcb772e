"""What needs no server: paths, errors, waits, lines."""

import json
import ssl
from random import Random

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.kube import CONFIGMAPS, LEASES, NODES, PODS, Backoff, errors
from allocator.kube.errors import from_answer, translated
from allocator.kube.lines import lines


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path(namespace="a", name="b"), "/api/v1/namespaces/a/pods/b"),
        (NODES.path(namespace="ignored", name="n"), "/api/v1/nodes/n"),
        (LEASES.path(namespace="a"), "/apis/coordination.k8s.io/v1/namespaces/a/leases"),
        (CONFIGMAPS.path(namespace="a", name="../../x?y"), "/api/v1/namespaces/a/configmaps/..%2F..%2Fx%3Fy"),
    ],
)
def test_paths(path, wanted):
    """Core and named groups, namespaced or not; a name can address nothing but itself."""
    assert path == wanted


@pytest.mark.parametrize(
    ("status", "reason", "kind", "maybe"),
    [
        (404, "NotFound", errors.NotFoundError, False),
        (409, "Conflict", errors.StaleError, False),
        (409, "AlreadyExists", errors.AlreadyExistsError, False),
        (410, "Expired", errors.ExpiredError, False),
        (410, "Gone", errors.ExpiredError, False),
        (422, "Invalid", errors.InvalidError, False),
        (401, "Unauthorized", errors.ForbiddenError, False),
        (429, "TooManyRequests", errors.BusyError, False),
        (500, "InternalError", errors.UnknownOutcomeError, True),
        (504, "Timeout", errors.UnknownOutcomeError, True),
    ],
)
def test_answers_become_errors_that_say_whether_it_may_have_happened(status, reason, kind, maybe):
    """A conflict did nothing; after a server's own fault nobody knows."""
    body = json.dumps({"kind": "Status", "reason": reason, "message": "no"}).encode()
    found = from_answer(status, body, what="PUT /x", retry_after="3")
    assert type(found) is kind
    assert found.maybe_applied is maybe
    assert found.retry_after == 3.0
    assert str(found) == f"PUT /x: no ({status})"


def test_an_answer_that_is_no_status_is_shown_as_it_is():
    """Proxies answer in HTML."""
    assert "bad gateway" in str(from_answer(502, b"<html>bad gateway", what="GET /x"))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (TimeoutError(), errors.UnknownOutcomeError),
        (aiohttp.ServerDisconnectedError(), errors.UnknownOutcomeError),
        (ConnectionResetError(), errors.UnknownOutcomeError),
        (orjson.JSONDecodeError("no JSON", "<html>", 0), errors.UnknownOutcomeError),
        (ssl.SSLCertVerificationError("unknown CA"), errors.UnreachableError),
    ],
)
def test_broken_connections_are_told_from_missing_ones(raised, kind):
    """Only where no connection was made is it sure that nothing happened."""
    with pytest.raises(errors.KubeError) as found, translated("PUT /x"):
        raise raised
    assert type(found.value) is kind


@given(st.integers(0, 10_000), st.integers())
def test_waits_grow_and_stay_below_the_cap(attempt, seed):
    """However often it fails, and whatever chance says."""
    wait = Backoff(first=0.5, most=8, least=0.5).wait(attempt, Random(seed))
    bound = min(8, 0.5 * 2 ** min(attempt, 64))
    assert bound / 2 <= wait <= bound


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"").strip())), st.lists(st.integers(1, 9)))
async def test_lines_are_the_same_however_the_stream_is_cut(wanted, cuts):
    """Chunks end anywhere; blank lines are no lines."""
    stream = b"".join(line + b"\n" for line in wanted)

    async def chunks():
        rest = stream
        for cut in cuts:
            yield rest[:cut]
            rest = rest[cut:]
        yield rest

    assert [line async for line in lines(chunks())] == [line for line in wanted if line]


async def test_a_line_that_was_cut_off_is_no_line():
    """Half an event is none."""

    async def chunks():
        yield b'{"a":1}\n{"b'

    assert [line async for line in lines(chunks())] == [b'{"a":1}']
