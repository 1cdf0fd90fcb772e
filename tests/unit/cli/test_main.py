"""The console script: finding subcommands, and what the caller sees when something is wrong."""

import io
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest

from allocator.api.errors import VramshareError
from allocator.cli.main import GROUP, run


@dataclass
class Fake:
    """A subcommand that does what it is told."""

    outcome: int | BaseException = 0
    help: str = "does a thing"
    calls: list[Namespace] = field(default_factory=list)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One argument of its own."""
        parser.add_argument("--size", type=int, default=1)

    def run(self, args: Namespace) -> int:
        """End as told."""
        self.calls.append(args)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class Entry:
    """An entry point that loads the given object, or fails to."""

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded

    def load(self) -> Any:
        """What importlib.metadata would import."""
        if isinstance(self.loaded, BaseException):
            raise self.loaded
        return self.loaded


def call(*argv: str, found: dict[str, Any], debug: bool = False) -> tuple[int, str]:
    """Exit code and standard error of one call."""
    stderr = io.StringIO()
    entries: dict[str, EntryPoint] = {name: Entry(one) for name, one in found.items()}  # type: ignore[misc]
    return run(argv, found=entries, stderr=stderr, debug=debug), stderr.getvalue()


def test_runs_the_chosen_subcommand_with_its_arguments() -> None:
    """The subcommand sees its own arguments, and its result is the exit code."""
    fake = Fake(outcome=3)
    assert call("do", "--size", "7", found={"do": fake}) == (3, "")
    assert fake.calls[0].size == 7


def test_imports_only_the_chosen_subcommand() -> None:
    """A broken neighbour does not stop the subcommand asked for."""
    assert call("do", found={"do": Fake(), "broken": RuntimeError("boom")}) == (0, "")


def test_known_errors_are_one_line_without_traceback() -> None:
    """An error of ours becomes one line that names the subcommand."""
    code, text = call("do", found={"do": Fake(outcome=VramshareError("no\nsuch node"))})
    assert (code, text) == (1, "vramshare do: no such node\n")


def test_a_failing_file_is_one_line() -> None:
    """The operating system's refusal names the file."""
    code, text = call("do", found={"do": Fake(outcome=FileNotFoundError(2, "No such file", "gpus.ini"))})
    assert code == 1
    assert "gpus.ini" in text
    assert text.count("\n") == 1


def test_an_unknown_fault_says_that_it_is_ours() -> None:
    """A bug ends with exit code 70, one line, and how to see more."""
    code, text = call("do", found={"do": Fake(outcome=KeyError("x"))})
    assert code == 70
    assert "a fault of vramshare" in text
    assert "VRAMSHARE_DEBUG=1" in text
    assert "Traceback" not in text


def test_debug_shows_where_a_fault_is() -> None:
    """With VRAMSHARE_DEBUG the traceback is printed too."""
    _, text = call("do", found={"do": Fake(outcome=KeyError("x"))}, debug=True)
    assert "Traceback" in text


def test_interrupt_is_130() -> None:
    """Ctrl-C is no fault: the shell's code for it, and silence."""
    assert call("do", found={"do": Fake(outcome=KeyboardInterrupt())}) == (130, "")


def test_a_missing_extra_is_named_where_the_subcommand_is_asked_for() -> None:
    """Without pynvml, `vramshare agent` says what is missing."""
    code, text = call("agent", found={"agent": ModuleNotFoundError("No module named 'pynvml'")})
    assert code == 1
    assert "No module named 'pynvml'" in text


def test_help_lists_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` lists the subcommands that can be imported and passes over the others."""
    code, _ = call("--help", found={"do": Fake(), "gone": ImportError("no")})
    assert code == 0
    shown = capsys.readouterr().out
    assert "does a thing" in shown
    assert "gone" not in shown


def test_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    code, _ = call("--version", found={})
    assert code == 0
    assert capsys.readouterr().out.startswith("vramshare 0.")


@pytest.mark.parametrize("argv", [(), ("nonsense",), ("do", "--size", "many")])
def test_misuse_is_exit_code_2(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A missing or unknown subcommand, or a bad argument, is told with the usage."""
    assert call(*argv, found={"do": Fake()})[0] == 2
    assert "usage: vramshare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("agent", ["--look", "many"]),
        ("webhook", ["--port", "99999999"]),
        ("run", ["--memory", "2Gib", "--", "true"]),
        ("run", ["--memory", "2Gi"]),
    ],
)
def test_a_value_that_cannot_be_is_exit_code_2(command: str, argv: list[str]) -> None:
    """Of the subcommands' own settings too, with what to write instead; a script can tell it from a failure."""
    error = io.StringIO()
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    assert run([command, *argv], found=found, stderr=error) == 2
    assert error.getvalue().startswith(f"vramshare {command}: ")
    assert error.getvalue().count("\n") == 1


def test_help_shows_what_to_write_and_how_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """Examples and exit codes of the subcommand, in the name by which it was called."""

    @dataclass
    class Told(Fake):
        examples = (("vramshare do --size 3", "a larger thing"),)
        exits = ((1, "too large"),)

    entries: dict[str, Any] = {"do": Entry(Told())}
    code = run(["do", "--help"], found=entries, stderr=io.StringIO(), program="kubectl vramshare")
    shown = capsys.readouterr().out
    assert code == 0
    assert "kubectl vramshare do --size 3\n      a larger thing" in shown
    assert "    1  too large\n    2  called wrongly" in shown


def test_help_of_all_begins_with_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are installed."""
    entries: dict[str, Any] = {"map": Entry(Fake())}
    run(["--help"], found=entries, stderr=io.StringIO())
    shown = capsys.readouterr().out
    assert "vramshare map\n      which GPUs there are" in shown
    assert "vramshare explain" not in shown
    assert "  130  interrupted" in shown
