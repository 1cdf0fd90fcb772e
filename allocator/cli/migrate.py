"""`vramshare migrate`: manifests written for HAMi, in vramshare's terms.

It is a convenience: unchanged manifests work too. Documents that need no change are printed as they were written,
comments included; a changed one loses its comments, which is said.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from allocator.api import names
from allocator.api.errors import VramshareError
from allocator.cli.given import read_given
from allocator.core.migration import Outcome, migrate

_SEPARATOR: Final = re.compile(r"^---(?:[ \t].*)?$\n?", re.MULTILINE)


class Migrate:
    """The subcommand. Exit code 0: done, or nothing to do."""

    help = "rewrite manifests that were written for HAMi"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "-f",
            "--filename",
            action="append",
            required=True,
            help="manifests, YAML or JSON; -: stdin; may be repeated",
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--dry-run", action="store_true", help="print what the files would become (the default)")
        how.add_argument("--diff", action="store_true", help="print what would change")
        how.add_argument("--write", action="store_true", help="change the files")

    def run(self, args: argparse.Namespace) -> int:
        """Rewrite each file; what is worth knowing goes to standard error."""
        namespaces: set[str] = set()
        for number, name in enumerate(args.filename):
            before = read_given(name)
            outcome = Outcome()
            after = rewritten(before, outcome, name)
            namespaces |= outcome.namespaces
            sys.stderr.writelines(f"{one}\n" for one in outcome.notes)
            if args.write and name != "-":
                if after != before:
                    Path(name).write_text(after)
            elif args.diff:
                sys.stdout.writelines(_diff(before, after, name))
            else:
                sys.stdout.write(("---\n" if number else "") + after)
        sys.stderr.writelines(f"{one}\n" for one in _advice(namespaces))
        return 0


command: Final = Migrate()


def rewritten(text: str, outcome: Outcome, name: str) -> str:
    """A file's text in vramshare's terms; unchanged documents to the letter.

    Raises:
        VramshareError: it is no YAML.
        RequestError: a pod in it asks in a way that cannot be understood.
    """
    parts = list(_documents(text))
    made = []
    for part in parts:
        document = _parsed(part, name)
        one = Outcome()
        new = migrate(document, one) if isinstance(document, dict) else document
        outcome.notes += one.notes
        outcome.namespaces |= one.namespaces
        if one.changed:
            outcome.changed = True
            if _has_comments(part):
                told = f"{document.get('kind', 'document')} {(document.get('metadata') or {}).get('name', '?')}"
                outcome.notes.append(f"{name}: {told}: its comments are lost")
            part = yaml.safe_dump(new, sort_keys=False, allow_unicode=True, width=1000)  # noqa: PLW2901
        made.append(part)
    return "---\n".join(made)


def _documents(text: str) -> Iterator[str]:
    """The documents of a stream as written."""
    position = 0
    for found in _SEPARATOR.finditer(text):
        yield text[position : found.start()]
        position = found.end()
    yield text[position:]


def _parsed(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as reason:
        raise VramshareError(f"{name}: no YAML: {reason}") from None


def _has_comments(text: str) -> bool:
    """Whether a document seems to have a comment: a `#` that begins a word, outside of quotes."""
    bare = re.sub(r"\"[^\"\n]*\"|'[^'\n]*'", "", text)
    return re.search(r"(^|[ \t])#", bare, re.MULTILINE) is not None


def _diff(before: str, after: str, name: str) -> Iterable[str]:
    return difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} (new)"
    )


def _advice(namespaces: set[str]) -> list[str]:
    """What has to be done once per namespace."""
    return [
        f"opt in once: kubectl label namespace {one or '<NAMESPACE>'} {names.INJECT_LABEL}={names.INJECT_ENABLED}"
        for one in sorted(namespaces)
    ]
