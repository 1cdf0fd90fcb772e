"""CEL: expressions of match conditions and policies, compiled once and evaluated on plain JSON."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import cel

_UNSUPPORTED = {"authorizer"}


class CelError(Exception):
    """An expression that does not compile, or fails on these values."""


@functools.lru_cache(maxsize=512)
def _program(expression: str) -> Any:
    try:
        return cel.compile(expression)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CelError(f"compilation failed: {error}") from error


def check(expression: str) -> str:
    """What keeps this server from evaluating the expression; empty when nothing does."""
    try:
        program = _program(expression)
    except CelError as error:
        return str(error)
    # Macro variables are among the names, so that only known gaps can be told.
    gaps = sorted(_UNSUPPORTED & set(program.variables()))
    return f"compilation failed: undeclared reference to {gaps[0]!r}: this server has no authorizer" if gaps else ""


def evaluate(expression: str, values: Mapping[str, Any]) -> Any:
    """The expression's value.

    Raises:
        CelError: it does not compile, or fails.
    """
    try:
        return _program(expression).execute(dict(values))
    except (ValueError, TypeError, RuntimeError, KeyError, ArithmeticError) as error:
        raise CelError(f"expression '{expression}' resulted in error: {error}") from error


def all_hold(conditions: Iterable[Mapping[str, Any]], values: Mapping[str, Any]) -> bool:
    """Do all match conditions hold? One that is false outweighs one that fails.

    Raises:
        CelError: one fails and none is false.
    """
    failed: CelError | None = None
    for condition in conditions:
        try:
            if evaluate(condition["expression"], values) is not True:
                return False
        except CelError as error:
            failed = error
    if failed is not None:
        raise failed
    return True
