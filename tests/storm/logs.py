"""Mistakes that a replica swallows: whatever it logs with a traceback is a failure of the storm."""

import sys
import traceback
from typing import Any, Self

import structlog


class Mistakes:
    """A context manager that keeps tracebacks from the log and everything else from the screen."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._before: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._before = structlog.get_config()
        structlog.configure(
            processors=[self._keep],
            wrapper_class=structlog.make_filtering_bound_logger(40),
            cache_logger_on_first_use=False,
        )
        return self

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)

    def _keep(self, _logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        if event.get("exc_info"):
            error = sys.exc_info()[1]
            where = traceback.extract_tb(error.__traceback__)[-1] if error is not None else None
            self.found.append(f"{event['event']}: {error!r} at {where}")
        raise structlog.DropEvent
