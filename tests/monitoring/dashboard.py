"""The dashboard's queries, with Grafana's variables filled in."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.monitoring.tools import OVERLAY

DASHBOARD = json.loads((OVERLAY / "vramshare.json").read_text())
_VARIABLES = {"$node": ".*", "$namespace": ".*", "$__rate_interval": "1m"}
_STRINGS = re.compile(r'"(?:\\.|[^"\\])*"')
_NAME = re.compile(r"\b(?:vramshare|process)_[a-z_]+\b")


def panels() -> list[dict[str, Any]]:
    """All panels but the titles of rows."""
    return [one for one in DASHBOARD["panels"] if one["type"] != "row"]


def expressions() -> Iterator[str]:
    """Every query of every panel."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, f"{panel['title']}: an unknown variable in {target['expr']}"
            yield expression


def names_in(expression: str) -> set[str]:
    """The metrics that a query asks for."""
    return set(_NAME.findall(_STRINGS.sub('""', expression)))


def variables() -> list[str]:
    """The queries that fill the dashboard's variables."""
    return [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
