"""Logging for every process of vramshare: structlog, JSON for machines, a console format for people.

Its place is beside the layers, because the webhook and the agent both start by calling `configure`.
"""

import logging
import sys
from typing import Final, TextIO

import structlog

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("json", "console")


def configure(*, level: str = "info", log_format: str = "json", stream: TextIO | None = None) -> None:
    """Set up structlog and route the standard library's logging through it.

    Args:
        level: one of LEVELS; quieter lines are dropped before they are formatted.
        log_format: one of FORMATS.
        stream: where lines go; standard error by default.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if log_format == "json":
        renderer: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[*_foreign(), *renderer], foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _foreign() -> list[structlog.typing.Processor]:
    """What a line of another library needs before it is rendered."""
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
