"""What the API server can answer, as exceptions of our own. The one place where foreign errors are translated.

The line that matters to a writer is whether the write may have happened: after a time-out or a broken
connection nobody knows, and only a read tells.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import orjson

from allocator.api.errors import VramshareError

_MESSAGE_LIMIT: Final = 500


class KubeError(VramshareError):
    """The API server refused, or could not be reached.

    Attributes:
        status: HTTP status; 0 where there was no answer.
        reason: the Status object's machine-readable reason, such as `Conflict`.
        maybe_applied: whether a write may have been carried out all the same.
        retry_after: seconds the server asks to wait; None: not said.
    """

    maybe_applied = False

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(message)


class NotFoundError(KubeError):
    """No such object, or no such namespace."""


class AlreadyExistsError(KubeError):
    """Somebody created it first."""


class StaleError(KubeError):
    """The object has changed since it was read: the compare-and-swap lost."""


class ExpiredError(KubeError):
    """The resourceVersion or continue token is too old (410): list again."""


class InvalidError(KubeError):
    """The server understood and refused the content (400, 422). A failed `test` of a JSON patch is one too."""


class ForbiddenError(KubeError):
    """Credentials or permissions are missing (401, 403)."""


class BusyError(KubeError):
    """Too many requests or a server that is starting (429, 503): nothing was done, try again."""


class UnreachableError(KubeError):
    """No connection could be made: nothing was done."""


class UnknownOutcomeError(KubeError):
    """Time-out, broken connection or a server's own fault: what was asked may have been done or not."""

    maybe_applied = True


_BY_STATUS: Final[dict[int, type[KubeError]]] = {
    400: InvalidError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: StaleError,
    410: ExpiredError,
    422: InvalidError,
    429: BusyError,
    503: BusyError,
}


def from_answer(status: int, body: bytes, *, what: str, retry_after: str | None = None) -> KubeError:
    """The exception for an answer that is no success.

    Args:
        status: HTTP status.
        body: a Status object, or anything else that a proxy may have sent.
        what: the request in words, put in front of the message.
        retry_after: the header's value.
    """
    found = _status_object(body)
    message = str(found.get("message") or body[:_MESSAGE_LIMIT].decode(errors="replace") or "no message")
    return from_status(status, message=f"{what}: {message}", reason=str(found.get("reason", "")), wait=retry_after)


def from_status(status: int, *, message: str, reason: str = "", wait: str | None = None) -> KubeError:
    """The exception for a status code and what came with it."""
    kind = _BY_STATUS.get(status, UnknownOutcomeError if status >= 500 else KubeError)
    if reason == "AlreadyExists":
        kind = AlreadyExistsError
    elif reason == "Expired":
        kind = ExpiredError
    seconds = float(wait) if wait and wait.isdecimal() else None
    return kind(f"{message} ({status})", status=status, reason=reason, retry_after=seconds)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the HTTP library raises into our own errors; `what` is the request in words."""
    try:
        yield
    except (ssl.SSLError, aiohttp.ClientConnectorError) as reason:
        raise UnreachableError(f"{what}: cannot connect to the API server: {reason}") from reason
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as reason:
        raise UnknownOutcomeError(f"{what}: no answer from the API server: {str(reason) or 'timed out'}") from reason
    except orjson.JSONDecodeError as reason:
        raise UnknownOutcomeError(f"{what}: the answer is no JSON; is there a proxy in between? {reason}") from reason


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
