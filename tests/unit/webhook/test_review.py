"""Reading reviews and writing answers."""

import base64
from typing import Any

import jsonpatch
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.review import LONGEST_WARNING, Answer, ReviewError, encode, parse, split


def question(**request: Any) -> bytes:
    """A review with this request."""
    return orjson.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "u", "operation": "CREATE", "kind": {"kind": "Pod"}, **request},
        }
    )


def response(answer: Answer) -> dict[str, Any]:
    """The response of an encoded answer."""
    document: dict[str, Any] = orjson.loads(encode("u", answer))
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    found: dict[str, Any] = document["response"]
    return found


def test_request_is_read() -> None:
    """Namespace and user come from the request; the object may lack the former."""
    got = parse(
        question(
            namespace="n", dryRun=True, subResource="resize", userInfo={"username": "me"}, object={}, oldObject=None
        )
    )
    assert (got.uid, got.operation, got.kind, got.namespace) == ("u", "CREATE", "Pod", "n")
    assert (got.dry_run, got.subresource, got.user) == (True, "resize", "me")
    assert got.pod == {}
    assert got.old is None


@pytest.mark.parametrize(
    ("metadata", "name"), [({"name": "a"}, "a"), ({"generateName": "a-"}, "a-*"), ({}, ""), (None, "")]
)
def test_name_of_a_pod_that_has_none_yet(metadata: dict[str, str] | None, name: str) -> None:
    """With generateName the name is made after us."""
    assert parse(question(object={"metadata": metadata})).name == name


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[]", b"1", b"null", b'{"request": 1}', b'{"request": null}'],
)
def test_garbage_is_no_review(body: bytes) -> None:
    """What cannot be read has no uid to answer to."""
    with pytest.raises(ReviewError) as caught:
        parse(body)
    assert caught.value.uid == ""


def test_uid_of_an_unreadable_request_is_kept() -> None:
    """The API server only believes an answer with the request's uid."""
    with pytest.raises(ReviewError, match="kind of the review is no object") as caught:
        parse(question(kind="Pod"))
    assert caught.value.uid == "u"


def test_other_versions_are_refused_with_a_remedy() -> None:
    """v1beta1 needs another form of answer; the registration is what to change."""
    body = question().replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1")
    with pytest.raises(ReviewError, match="set admissionReviewVersions to v1"):
        parse(body)


def test_plain_answer_says_nothing_but_yes() -> None:
    """No patch, no status, no empty lists."""
    assert response(Answer()) == {"uid": "u", "allowed": True}


def test_empty_patch_is_no_patch() -> None:
    """A patch type without a patch is an invalid answer."""
    assert "patchType" not in response(Answer(patch=jsonpatch.JsonPatch([])))


def test_patch_is_base64_of_its_operations() -> None:
    """As admission.k8s.io/v1 wants it."""
    operations = [{"op": "add", "path": "/a", "value": "ü"}]
    got = response(Answer(patch=jsonpatch.JsonPatch(operations)))
    assert got["patchType"] == "JSONPatch"
    assert orjson.loads(base64.b64decode(got["patch"])) == operations


def test_denial_carries_a_status() -> None:
    """Code, reason and message are what the user reads; the hint makes clients try again."""
    got = response(Answer(allowed=False, code=503, reason="ServiceUnavailable", message="later", retry_after=1))
    assert got["status"] == {
        "status": "Failure",
        "code": 503,
        "reason": "ServiceUnavailable",
        "message": "later",
        "details": {"retryAfterSeconds": 1},
    }


def test_warnings_are_short_single_lines() -> None:
    """Longer ones may be cut or dropped on their way."""
    got = response(Answer(warnings=("a\nb", "x" * 500)))["warnings"]
    assert got[0] == "a b"
    assert len(got) > 2
    assert max(map(len, got)) <= LONGEST_WARNING


def test_short_warnings_stay_as_they_are() -> None:
    """One line, up to the last character that fits."""
    assert split("x" * 120) == ["x" * 120]
    assert split("two  words\n") == ["two words"]


@given(st.lists(st.text("abc", min_size=1, max_size=60), min_size=1, max_size=7))
def test_no_warning_loses_its_end(words: list[str]) -> None:
    """Long ones go on in a line of their own; together the lines hold every word, and each is short enough."""
    lines = split(" ".join(words))
    assert all(len(line) <= LONGEST_WARNING for line in lines)
    assert [word for line in lines for word in line.split() if word != "…"] == words


def test_endless_warnings_end() -> None:
    """A pod with names of any length does not fill the answer."""
    lines = split("word " * 10_000)
    assert len(lines) == 4
    assert all(len(line) <= LONGEST_WARNING for line in lines)
    assert lines[-1].endswith("…")
