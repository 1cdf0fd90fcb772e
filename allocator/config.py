"""Settings of the processes that run for long: flags, environment, one file, defaults; in this order.

A part declares its options once, each with a reader that turns text into a value or says what to write instead. All
four sources give text to the same reader, so that a mistake is told the same way wherever it stands: the place, the
value, the remedy. The file is YAML; what both parts share stands at its top, the rest under the part's name:

    namespace: vramshare-system
    log-level: info
    webhook:
      runtime-class: nvidia
    agent:
      on-violation: evict

Its place is beside the layers, like `allocator.logs`: webhook and agent both begin here.
"""

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from allocator.api.errors import MisuseError
from allocator.api.quantities import Memory, QuantityError

FILE_FLAG: Final = "--config"
FILE_VARIABLE: Final = "VRAMSHARE_CONFIG"
PARTS: Final = ("webhook", "agent")

Reader = Callable[[str], Any]
"""Text to value. Raises ValueError with what to write instead."""

_SERVICE_LINK: Final = re.compile(r"(tcp|udp|sctp)://")
"""Kubernetes gives every pod variables named after Services: for a Service `vramshare-webhook` in the namespace
`VRAMSHARE_WEBHOOK_PORT=tcp://10.0.0.1:443`, which nobody has set."""


class SettingError(MisuseError):
    """A setting that cannot be; says where it stands, its value and what to write instead."""

    def __init__(self, where: str, value: object, remedy: str) -> None:
        self.where = where
        super().__init__(f"{where} is {str(value)!r}: {remedy}")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    Attributes:
        name: its flag less the dashes, and its key in the file.
        default: its value where nobody sets it.
        help: one clause for people, with the unit.
        read: from text to value.
        shared: whether both parts have it: it then stands at the top of the file too.
        reloads: whether a change of the file takes effect without a restart.
        many: whether the flag may be repeated; the reader gets all of them, comma-separated.
        variables: further environment variables, such as those that a pod's manifest sets anyway.
        shows: how the default is told to people; empty: as it is.
    """

    name: str
    default: Any
    help: str
    read: Reader
    shared: bool = False
    reloads: bool = False
    many: bool = False
    variables: tuple[str, ...] = ()
    shows: str = ""

    @property
    def key(self) -> str:
        """Its name in a Namespace."""
        return self.name.replace("-", "_")


class Options:
    """The options of one part."""

    def __init__(self, part: str, declared: Iterable[Option], environ: Mapping[str, str]) -> None:
        """Collect.

        Args:
            part: one of PARTS.
            declared: its options.
            environ: the environment.
        """
        self.part = part
        self.declared: Sequence[Option] = tuple(declared)
        self._environ = environ

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Give the parser a flag per option. What they say is read by `resolve`."""
        parser.add_argument(FILE_FLAG, metavar="FILE", help=f"YAML file with settings [{FILE_VARIABLE}]")
        for one in self.declared:
            said = one.shows or _shown(one.default)
            told = f"{one.help}; default: {said} [{self.variables(one)[0]}]".replace("%", "%%")
            if one.read is yes_no:
                parser.add_argument(f"--{one.name}", nargs="?", const="yes", metavar="yes|no", help=told)
            else:
                action = "append" if one.many else "store"
                parser.add_argument(f"--{one.name}", action=action, metavar="VALUE", help=told)
        parser.set_defaults(options=self)

    def variables(self, one: Option) -> tuple[str, ...]:
        """The environment variables of an option, the strongest first."""
        name = one.name.replace("-", "_").upper()
        return (f"VRAMSHARE_{self.part.upper()}_{name}", f"VRAMSHARE_{name}", *one.variables)

    def resolve(self, args: argparse.Namespace) -> argparse.Namespace:
        """Every option's value: from its flag, else the environment, else the file, else its default.

        Raises:
            SettingError: a value that cannot be, or a key of the file that nobody knows.
        """
        path = getattr(args, "config", None) or self._environ.get(FILE_VARIABLE)
        file = self._file(Path(path)) if path else {}
        return argparse.Namespace(**{one.key: self._value(one, args, file) for one in self.declared}, config=path)

    def _value(self, one: Option, args: argparse.Namespace, file: Mapping[str, tuple[str, str]]) -> Any:
        flag = getattr(args, one.key, None)
        if flag is not None:
            return _read(one, f"--{one.name}", ",".join(flag) if one.many else flag)
        for variable in self.variables(one):
            text = self._environ.get(variable, "")
            if text and not _SERVICE_LINK.match(text):
                return _read(one, variable, text)
        if one.name in file:
            return _read(one, *file[one.name])
        return one.default

    def _file(self, path: Path) -> dict[str, tuple[str, str]]:
        """The file's settings for this part: where each stands, and its text."""
        content = _content(path)
        found: dict[str, tuple[str, str]] = {}
        top = {one.name for one in self.declared if one.shared}
        for key, value in content.items():
            if key in PARTS:
                continue
            if key not in top:
                raise SettingError(f"{path}: {key}", value, _instead(str(key), {*top, *PARTS}))
            found[key] = (f"{path}: {key}", _text(value))
        known = {one.name for one in self.declared}
        section = content.get(self.part) or {}
        if not isinstance(section, dict):
            raise SettingError(f"{path}: {self.part}", section, "write `name: value` lines under it")
        for key, value in section.items():
            where = f"{path}: {self.part}: {key}"
            if key not in known:
                raise SettingError(where, value, _instead(str(key), known))
            found[key] = (where, _text(value))
        return found


def resolved(args: argparse.Namespace) -> argparse.Namespace:
    """The options' values, of what a parser with `Options.declare` has parsed; as they are once they were resolved."""
    options: Options | None = getattr(args, "options", None)
    return options.resolve(args) if options else args


def table(options: Options) -> str:
    """The options as a Markdown table, as docs/settings.md has it."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for one in options.declared:
        marks = "".join((" (shared)" if one.shared else "", " (reloaded)" if one.reloads else ""))
        lines.append(f"| `{one.name}`{marks} | {one.shows or f'`{_shown(one.default)}`'} | {one.help} |")
    return "\n".join(lines) + "\n"


# --- Readers -------------------------------------------------------------------------------------------------


def text(value: str) -> str:
    """Anything."""
    return value


def path(value: str) -> Path:
    """A path."""
    return Path(value)


def listed(value: str) -> tuple[str, ...]:
    """Comma-separated words."""
    return tuple(one.strip() for one in value.split(",") if one.strip())


def yes_no(value: str) -> bool:
    """`yes` or `no`."""
    return one_of("yes", "no")(value) == "yes"


def memory(value: str) -> Memory:
    """A Kubernetes quantity of memory."""
    try:
        return Memory.parse(value)
    except QuantityError as reason:
        raise ValueError(str(reason)) from None


def one_of(*choices: str) -> Callable[[str], str]:
    """One of these words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"write one of {', '.join(choices)}")
        return value

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""

    def read(value: str) -> int:
        if not (value.isascii() and value.isdecimal()) or len(value) > 12 or not least <= int(value) <= most:
            raise ValueError(f"write a whole number from {least} to {most}")
        return int(value)

    return read


def number(least: float, most: float, unit: str) -> Callable[[str], float]:
    """A number from `least` to `most` of a unit."""

    def read(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = float("nan")
        if not least <= found <= most:
            raise ValueError(f"write a number of {unit} from {least:g} to {most:g}")
        return found

    return read


# --- Parts of the above --------------------------------------------------------------------------------------


def _read(one: Option, where: str, value: str) -> Any:
    try:
        return one.read(value.strip())
    except ValueError as reason:
        raise SettingError(where, value, str(reason)) from None


def _content(file: Path) -> Mapping[Any, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as reason:
        raise SettingError(FILE_FLAG, file, f"it cannot be read: {reason.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as reason:
        told = " ".join(str(reason).split())
        raise SettingError(FILE_FLAG, file, f"write YAML: {told}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingError(FILE_FLAG, file, "write `name: value` lines")
    return content


def _text(value: object) -> str:
    """A value of the file as a flag would have it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return "" if value is None else str(value)


def _shown(value: object) -> str:
    """A default as one would write it."""
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _instead(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), n=1)
    return f"no such setting; did you mean {near[0]}?" if near else "no such setting; docs/settings.md lists them"
