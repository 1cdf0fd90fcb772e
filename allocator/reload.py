"""Takes over what changed in the settings file while a process runs, where that is safe, and tells the rest."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn

import structlog

from allocator import logs
from allocator.api.errors import VramshareError
from allocator.config import Options, resolved

_log: Final = structlog.get_logger(__name__)
INTERVAL: Final = 10.0
"""Seconds between two looks at the file. A ConfigMap takes a minute or two to reach it anyway."""


async def alongside(
    work: Awaitable[None],
    args: argparse.Namespace,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Do the work, and follow the settings file meanwhile.

    Args:
        work: ends when it ends.
        args: as parsed.
        sleep: waits so many seconds.
    """
    options: Options | None = getattr(args, "options", None)
    if options is None or resolved(args).config is None:
        await work
        return
    following = asyncio.create_task(follow(options, args, sleep=sleep))
    try:
        await work
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def follow(
    options: Options, args: argparse.Namespace, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> NoReturn:
    """Look at the file for ever. Logs are set up anew at once; what needs a restart is named, once per change."""
    before, complaint = vars(options.resolve(args)), ""
    while True:
        await sleep(INTERVAL)
        try:
            now = vars(options.resolve(args))
        except VramshareError as reason:
            if str(reason) != complaint:
                _log.error("settings_not_reloaded", error=str(reason))
            complaint = str(reason)
            continue
        complaint = ""
        changed = [one for one in options.declared if now[one.key] != before[one.key]]
        before = now
        if any(one.reloads for one in changed):
            logs.configure(level=now["log_level"], log_format=now["log_format"])
            _log.info("settings_reloaded", settings=[one.name for one in changed if one.reloads])
        if waiting := [one.name for one in changed if not one.reloads]:
            _log.warning("settings_need_a_restart", settings=waiting)
