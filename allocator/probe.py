"""Loads the interposer in a test process, before any container depends on it.

The dynamic loader passes over a preload that it cannot map, with a line on standard error, and the program runs on
without a wall. A folder mounted noexec, a library of another architecture and a C library too old for it are all
found here instead, and the node gets no grants.
"""

import subprocess  # the one test process, fixed arguments
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

PATIENCE: Final = 30.0
"""Seconds for the test process; it takes a few hundredths."""
_CHECK: Final = "import sys; sys.exit(not any(sys.argv[1] in line for line in open('/proc/self/maps')))"
_NOISE: Final = "ERROR: ld.so: "

Run = Callable[[list[str], dict[str, str]], "subprocess.CompletedProcess[str]"]


def run_process(argv: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run the test process to its end, or kill it."""
    return subprocess.run(  # noqa: S603 - our own interpreter with fixed arguments
        argv, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )


def load(file: Path, *, run: Run = run_process) -> str:
    """Preload the library in a process; empty if it was loaded, else why not."""
    file = file.resolve()  # the process' map shows the real path
    try:
        ended = run([sys.executable, "-I", "-S", "-c", _CHECK, str(file)], {"LD_PRELOAD": str(file), "LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        return f"a test process that loads the interposer hangs ({file})"
    except OSError as reason:
        return f"no test process can be started: {reason}"
    if ended.returncode < 0:
        return f"a test process that loads the interposer dies of signal {-ended.returncode} ({file})"
    if ended.returncode == 0:
        return ""
    said = " ".join(ended.stderr.split()).replace(_NOISE, "")
    return f"the interposer cannot be loaded: {said[:300] or 'the loader passed over it without a word'}"
