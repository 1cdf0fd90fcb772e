"""Completion of a command line, out of the parsers themselves: what they take is what is offered. Pure."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FILES = "files"
"""Stands for the shell's own completion of file names."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What may stand in the place of the last word.

    Attributes:
        words: word and one line about it.
        files: whether names of files may stand there too.
    """

    words: tuple[tuple[str, str], ...] = ()
    files: bool = False


def offer(parser: argparse.ArgumentParser, before: Sequence[str], current: str) -> Offer:
    """What could be written.

    Args:
        parser: of the whole command.
        before: the words before the last, without the program's name.
        current: the last word, as far as it is written.
    """
    used: set[str] = set()
    place = 0
    rest = list(before)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return Offer(files=True)
        options = _options(parser)
        if word.startswith("-"):
            name, equals, _ = word.partition("=")
            used.add(name)
            found = options.get(name)
            if found is not None and _takes(found) and not equals:
                if not rest:
                    return _values(found, current)
                rest.pop(0)
            continue
        commands = _commands(parser)
        if word in commands:
            parser, place, used = commands[word], 0, set()
        else:
            place += 1
    return _next(parser, place, used, current)


def _next(parser: argparse.ArgumentParser, place: int, used: set[str], current: str) -> Offer:
    """What may follow, all earlier words understood."""
    name, equals, value = current.partition("=")
    if equals and (found := _options(parser).get(name)) is not None:
        values = _values(found, value)
        return Offer(tuple((f"{name}={word}", text) for word, text in values.words), values.files)
    if current.startswith("-"):
        options = ((word, action.help or "") for word, action in _options(parser).items() if _fresh(action, used))
        return Offer(_starting(options, current))
    if commands := _commands(parser):
        helps = _helps(parser)
        return Offer(_starting(((word, helps.get(word, "")) for word in commands), current))
    positionals = [one for one in parser._get_positional_actions() if one.nargs != 0]  # noqa: SLF001 - argparse has no other way
    if not positionals:
        return Offer()
    return _values(positionals[min(place, len(positionals) - 1)], current)


def _values(action: argparse.Action, current: str) -> Offer:
    """What an option or an argument takes. A metavar that says FILE or FOLDER, or a path, is a file."""
    if action.choices is not None:
        return Offer(_starting(((str(one), "") for one in action.choices), current))
    shown = str(action.metavar or action.dest).upper()
    return Offer(files=any(part in shown for part in ("FILE", "FOLDER", "DIR", "PATH", "SVG", "KUBECONFIG", "COMMAND")))


def _starting(words: Iterable[tuple[str, str]], current: str) -> tuple[tuple[str, str], ...]:
    return tuple((word, _short(text)) for word, text in words if word.startswith(current))


def _short(text: str) -> str:
    return " ".join(text.replace("%%", "%").split())


def _takes(action: argparse.Action) -> bool:
    return action.nargs != 0


def _fresh(action: argparse.Action, used: set[str]) -> bool:
    return action.help != argparse.SUPPRESS and not used.intersection(action.option_strings)


def _options(parser: argparse.ArgumentParser) -> Mapping[str, argparse.Action]:
    return parser._option_string_actions  # noqa: SLF001 - argparse has no other way


def _commands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            found: Mapping[str, argparse.ArgumentParser] = action.choices
            return found
    return {}


def _helps(parser: argparse.ArgumentParser) -> Mapping[str, str]:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            return {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001 - as above
    return {}
