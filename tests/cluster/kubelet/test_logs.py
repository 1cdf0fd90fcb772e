"""The CRI log format and the options of the log endpoint."""

import pytest
from devcluster.kubelet.crilog import PIECE, LineWriter
from devcluster.kubelet.logs import LogOptions, choose_run, select
from devcluster.kubelet.records import Ended, Record, Running, Waiting
from hypothesis import given
from hypothesis import strategies as st

ENDED = Ended(1, "Error", 1, 2)


def written(*pieces: bytes, now: float = 5) -> list[bytes]:
    """The log entries of an output that arrives in pieces."""
    writer = LineWriter("stdout")
    log = b"".join(writer.feed(piece, now) for piece in pieces) + writer.finish(now)
    return log.split(b"\n")[:-1]


@given(st.lists(st.binary(max_size=40)))
def test_a_log_read_back_is_what_was_written(pieces: list[bytes]) -> None:
    """However the output arrives, the log yields it byte by byte."""
    assert select(written(*pieces), LogOptions()) == b"".join(pieces)


def test_long_lines_are_cut_into_pieces() -> None:
    """A reader never needs more memory than a piece; the pieces join to the line."""
    log = written(b"x" * (2 * PIECE + 1) + b"\n")
    assert [line.split(b" ")[2] for line in log] == [b"P", b"P", b"F"]
    assert select(log, LogOptions()) == b"x" * (2 * PIECE + 1) + b"\n"


def test_tail_and_timestamps() -> None:
    """A tail counts from the end; timestamps prefix each line."""
    log = written(b"a\nb\nc\n")
    assert select(log, LogOptions(tail=2)) == b"b\nc\n"
    assert select(log, LogOptions(tail=1, timestamps=True)) == b"1970-01-01T00:00:05.000000000Z c\n"


def test_since_leaves_older_entries_out() -> None:
    """Seconds are counted back from now."""
    log = [*written(b"old\n", now=5), *written(b"new\n", now=50)]
    assert select(log, LogOptions.parse({"sinceSeconds": "20"}, now=60)) == b"new\n"


@pytest.mark.parametrize(
    ("record", "previous", "number"),
    [
        (Record("c", "i", "main", Running(1), None, 0), False, 0),
        (Record("c", "i", "main", Running(1), ENDED, 2), False, 2),
        (Record("c", "i", "main", Running(1), ENDED, 2), True, 1),
        (Record("c", "i", "main", Waiting("CrashLoopBackOff"), ENDED, 2), False, 2),
        (Record("c", "i", "main", Waiting("CrashLoopBackOff"), ENDED, 2), True, 2),
    ],
)
def test_which_run_is_meant(record: Record, number: int, *, previous: bool) -> None:
    """The present run, or the one before; while waiting for a restart both are the last one."""
    assert choose_run(record, pod="p", previous=previous) == number


def test_no_log_yet() -> None:
    """A container that was never started says what it waits for."""
    with pytest.raises(LookupError, match='container "c" in pod "p" is waiting to start: ContainerCreating'):
        choose_run(Record("c", "i", "main", Waiting("ContainerCreating")), pod="p", previous=False)
    with pytest.raises(LookupError, match='previous terminated container "c" in pod "p" not found'):
        choose_run(Record("c", "i", "main", Running(1)), pod="p", previous=True)
