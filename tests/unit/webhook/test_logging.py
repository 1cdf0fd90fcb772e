"""What the logs show, and what they must not."""

import io

import structlog

from allocator import logs


def _fail(secret: str) -> None:
    raise ValueError(f"cannot read a text of {len(secret)} characters")


def test_tracebacks_show_no_values_of_variables() -> None:
    """Pods have secrets in their environment, and tracebacks go through functions that hold pods."""
    before = structlog.get_config()
    stream = io.StringIO()
    try:
        logs.configure(log_format="console", stream=stream)
        try:
            _fail("hunter2-hunter2")
        except ValueError:
            structlog.get_logger().exception("failed")
    finally:
        structlog.configure(**before)
    assert "ValueError" in stream.getvalue()
    assert "hunter2-hunter2" not in stream.getvalue().replace('_fail("hunter2-hunter2")', "")
