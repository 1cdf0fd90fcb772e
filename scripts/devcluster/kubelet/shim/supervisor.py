"""The shim's own life: start the container, log its output, pass signals on, report its end.

Talks with the kubelet over standard input (a plan, then ``{"signal": n}`` lines) and standard output (one line of JSON
per event: ``started``, ``failed`` with a message, ``exited`` with a code). The end of standard input means that the
kubelet is gone, and ends the container.
"""

import contextlib
import json
import os
import selectors
import signal
import time
from collections.abc import Callable

from devcluster.kubelet.crilog import LineWriter
from devcluster.kubelet.plan import PROCESS, USER_NAMESPACES, Plan
from devcluster.kubelet.shim import child, system

_CHUNK = 64 * 1024


def main() -> None:
    """Run one container: the whole life of the shim process."""
    plan = Plan.decode(_read_line())
    os.makedirs(os.path.dirname(plan.log_path), exist_ok=True)
    log = os.open(plan.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    system.adopt_orphans()
    try:
        _namespaces(plan)
    except OSError as error:
        _say(event="failed", message=str(error))
        return
    Supervisor(plan, log).run()


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit(1)
        line += byte
    return line


def _say(**message: object) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _namespaces(plan: Plan) -> None:
    """Enter the namespaces that the container's first process must be born into."""
    if plan.isolation == PROCESS:
        return
    if plan.isolation == USER_NAMESPACES:
        uid, gid = os.getuid(), os.getgid()
        system.unshare(system.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    if not plan.host_pid:
        system.unshare(system.CLONE_NEWPID)


class Supervisor:
    """Parent of the container's first process."""

    def __init__(self, plan: Plan, log: int) -> None:
        self._plan = plan
        self._log = log
        self._poll = selectors.DefaultSelector()
        self._commands = b""
        self._open_streams = 0
        self._code: int | None = None
        self._pid = 0

    def run(self) -> None:
        """Start the container and stay until it has ended and its output is written."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write)
        failure = self._start()
        if failure is not None:
            _say(event="failed", message=failure)
            return
        _say(event="started", pid=self._pid)
        self._poll.register(wake_read, selectors.EVENT_READ, lambda: self._reap(wake_read))
        self._poll.register(0, selectors.EVENT_READ, self._command)
        self._reap(wake_read)
        while self._code is None or self._open_streams:
            for key, _ in self._poll.select():
                key.data()
        _say(event="exited", code=self._code)

    def _start(self) -> str | None:
        """Fork the container and return why it could not start, or None."""
        out, err, report = os.pipe(), os.pipe(), os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            signal.set_wakeup_fd(-1)
            child.become(self._plan, stdout=out[1], stderr=err[1], report=report[1])
        for pair in (out, err, report):
            os.close(pair[1])
        told = b""
        while piece := os.read(report[0], _CHUNK):
            told += piece
        os.close(report[0])
        if told:
            os.waitpid(self._pid, 0)
            return str(json.loads(told)["message"])
        for name, pair in (("stdout", out), ("stderr", err)):
            self._open_streams += 1
            self._poll.register(pair[0], selectors.EVENT_READ, self._stream_reader(name, pair[0]))
        return None

    def _stream_reader(self, name: str, descriptor: int) -> Callable[[], None]:
        writer = LineWriter(name)

        def read() -> None:
            data = os.read(descriptor, _CHUNK)
            os.write(self._log, writer.feed(data, time.time()) if data else writer.finish(time.time()))
            if not data:
                self._poll.unregister(descriptor)
                os.close(descriptor)
                self._open_streams -= 1

        return read

    def _command(self) -> None:
        data = os.read(0, _CHUNK)
        if not data:
            self._poll.unregister(0)
            self._signal(signal.SIGKILL)
            return
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            self._signal(json.loads(line)["signal"])

    def _signal(self, number: int) -> None:
        if self._code is None:
            os.kill(self._pid, number)

    def _reap(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, _CHUNK)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code
            if self._code is not None:
                _kill_adopted()


def _kill_adopted() -> None:
    """Kill what the container left behind; with a PID namespace of its own the kernel has done so already."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        for pid in file.read().split():
            os.kill(int(pid), signal.SIGKILL)
