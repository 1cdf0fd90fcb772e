"""From an error to the answer that a user sees."""

from http import HTTPStatus
from typing import Final

from allocator.api.errors import (
    ConflictError,
    MustWaitError,
    NoCapacityError,
    NotReadyError,
    OverQuotaError,
    RequestError,
)
from webhook.review import Answer, ReviewError

RETRY_SECONDS: Final = 1
"""Hint for clients of the API server: the usual ones then try again by themselves."""


def denial(error: BaseException) -> Answer:
    """The denial that an error amounts to. What is nobody's fault but ours says so and fails closed."""
    match error:
        case RequestError():
            return _denied(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", str(error))
        case ReviewError():
            return _denied(HTTPStatus.BAD_REQUEST, "BadRequest", str(error))
        case OverQuotaError() | NoCapacityError():
            return _nothing_left(error)
        case NotReadyError() | ConflictError():
            return _later(str(error))
        case TimeoutError():
            return _later("the allocator did not decide in time; nothing was granted; try again")
        case _:
            return _denied(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "InternalError",
                f"vramshare failed on this pod ({type(error).__name__}); its webhook's log has the details",
            )


def _nothing_left(error: OverQuotaError | NoCapacityError) -> Answer:
    """Nothing is wrong with the request."""
    if isinstance(error, OverQuotaError):
        return _denied(HTTPStatus.FORBIDDEN, "Forbidden", str(error))
    message = f"no GPU capacity now: {error}"
    if isinstance(error, MustWaitError):
        message = f"{error}; a pod with spec.nodeName cannot wait: choose its node by spec.nodeSelector instead"
    return _denied(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", message)


def _later(message: str) -> Answer:
    answer = _denied(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    return Answer(
        allowed=False, code=answer.code, reason=answer.reason, message=answer.message, retry_after=RETRY_SECONDS
    )


def _denied(code: HTTPStatus, reason: str, message: str) -> Answer:
    return Answer(allowed=False, code=code, reason=reason, message=message, audit={"reason": message})
