"""A settings file that changes while a process runs."""

import argparse
import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from allocator import logs
from allocator.config import Option, Options, text
from allocator.reload import alongside
from allocator.shared_options import SHARED


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


async def followed(path: Path, *changes: Callable[[], object]) -> None:
    """Run a process that ends after these changes of its settings file."""
    parser = argparse.ArgumentParser()
    Options("webhook", (*SHARED, Option("port", "1", "where", text)), {}).declare(parser)
    args = parser.parse_args(["--config", str(path)])
    done, left = asyncio.Event(), iter(changes)

    async def sleep(_: float) -> None:
        change = next(left, done.set)
        change()
        await asyncio.sleep(0)

    async def work() -> None:
        await done.wait()

    await alongside(work(), args, sleep=sleep)


async def test_log_level_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a restart, and once."""
    path = tmp_path / "s.yaml"
    path.write_text("log-level: info\n")
    stream = io.StringIO()
    chosen: list[tuple[str, str]] = []
    configure = logs.configure

    def remember(*, level: str, log_format: str) -> None:
        chosen.append((level, log_format))
        configure(level=level, log_format=log_format, stream=stream)

    monkeypatch.setattr(logs, "configure", remember)
    await followed(path, lambda: path.write_text("log-level: debug\nlog-format: console\n"), lambda: None)
    assert chosen == [("debug", "console")]
    assert "settings_reloaded" in stream.getvalue()


async def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    """It goes on as it was."""
    path = tmp_path / "s.yaml"
    path.write_text("webhook: {port: 1}\n")
    with capture_logs() as told:
        await followed(path, lambda: path.write_text("webhook: {port: 2}\n"), lambda: None)
    assert [one for one in told if one["event"] == "settings_need_a_restart"] == [
        {"event": "settings_need_a_restart", "log_level": "warning", "settings": ["port"]}
    ]


async def test_broken_file_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    """An editor may have written half of it."""
    path = tmp_path / "s.yaml"
    path.write_text("log-level: info\n")
    with capture_logs() as told:
        await followed(path, lambda: path.write_text("log-level: [\n"), lambda: None, path.unlink)
    assert [one["event"] for one in told] == ["settings_not_reloaded", "settings_not_reloaded"]


async def test_failure_of_the_work_is_its_outcome(tmp_path: Path) -> None:
    """Nothing is hidden by the following."""
    path = tmp_path / "s.yaml"
    path.write_text("")
    parser = argparse.ArgumentParser()
    Options("webhook", SHARED, {}).declare(parser)

    async def work() -> None:
        raise OSError("port taken")

    with pytest.raises(OSError, match="port taken"):
        await alongside(work(), parser.parse_args(["--config", str(path)]))
