"""What Tab offers: in the parsers' own words, and through each shell's own way to ask."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from allocator.cli.completion import SCRIPTS
from allocator.cli.words import offer

BIN = Path(sys.executable).parent


def parser() -> argparse.ArgumentParser:
    """One with a subcommand of every kind of word."""
    made = argparse.ArgumentParser()
    commands = made.add_subparsers()
    one = commands.add_parser("draw", help="draw 100%% of it")
    one.add_argument("-o", "--output", choices=("text", "json"))
    one.add_argument("--file", type=Path, help="where")
    one.add_argument("--fast", action="store_true")
    one.add_argument("--secret", help=argparse.SUPPRESS)
    one.add_argument("shape", choices=("round", "square"))
    commands.add_parser("drop")
    return made


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], ["draw", "drop"]),
        (["dra"], ["draw"]),
        (["nonsense", "dr"], ["draw", "drop"]),
        (["draw", "--f"], ["--file", "--fast"]),
        (["draw", "--fast", "--f"], ["--file"]),
        (["draw", "--s"], []),
        (["draw", "-o", "j"], ["json"]),
        (["draw", "--output=t"], ["--output=text"]),
        (["draw", "--output=json", "s"], ["square"]),
        (["draw", ""], ["round", "square"]),
        (["drop", ""], []),
    ],
)
def test_offers_what_the_parser_takes(words: list[str], expected: list[str]) -> None:
    """Subcommands, options not used yet, choices."""
    *before, current = words
    assert [word for word, _ in offer(parser(), before, current).words] == expected


def test_files_are_left_to_the_shell() -> None:
    """Where an option takes one, and behind a double dash."""
    assert offer(parser(), ["draw", "--file"], "x").files
    assert offer(parser(), ["draw", "--"], "x").files
    assert not offer(parser(), ["draw", "-o"], "x").files


def test_each_word_has_its_line_of_help() -> None:
    """As --help prints it."""
    assert offer(parser(), [], "draw").words == (("draw", "draw 100% of it"),)


def asked(program: str, *words: str) -> list[str]:
    """What an installed program prints when it is asked."""
    found = subprocess.run([BIN / program, *words], capture_output=True, text=True, check=True)  # noqa: S603
    return found.stdout.splitlines()


def test_kubectl_is_answered_in_its_own_way() -> None:
    """A word and its help on each line; the directive says whether files may follow."""
    lines = asked("kubectl_complete-vramshare", "expl")
    assert lines[0].startswith("explain\tsay where")
    assert lines[-1] == ":4"
    assert asked("kubectl_complete-vramshare", "explain", "-f", "")[-1] == ":0"


def test_bash_completes() -> None:
    """The script, loaded into a shell, fills COMPREPLY."""
    script = SCRIPTS["bash"] + "COMP_WORDS=(vramshare explain --na); COMP_CWORD=2; _vramshare; echo ${COMPREPLY[@]}"
    shell = ["bash", "-eu", "-c", script]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    found = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert found.stdout.split() == ["--namespace"]


def test_the_plugin_goes_by_kubectls_name() -> None:
    """`kubectl vramshare` runs `kubectl-vramshare`, and its help says what to type."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    line = [BIN / "kubectl", "vramshare", "map", "--help"]
    found = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert "kubectl vramshare map --svg gpus.svg" in found.stdout
