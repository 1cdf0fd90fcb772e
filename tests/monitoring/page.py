"""The tables of docs/metrics.md, as both endpoints would write them."""

from dataclasses import dataclass
from itertools import groupby

from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.tools import ROOT

PAGE = ROOT / "docs" / "metrics.md"
HEAD = ("| name | type | labels | meaning |", "|---|---|---|---|")


@dataclass(frozen=True, order=True)
class Row:
    """One metric.

    Attributes:
        name: as queries write it; a histogram's without the endings of its parts.
        type: counter, gauge or histogram.
        labels: their names; None: nothing of it has happened, so they are not known here.
        meaning: its help text.
    """

    name: str
    type: str
    labels: tuple[str, ...] | None
    meaning: str

    def line(self) -> str:
        """As a line of a table."""
        labels = " ".join(f"`{label}`" for label in self.labels or ())
        return f"| `{self.name}` | {self.type} | {labels} | {self.meaning} |"


def told(text: str) -> dict[str, Row]:
    """What an endpoint's answer says of each metric, by name."""
    rows = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = next((tuple(key for key in one.labels if key != "le") for one in family.samples), None)
        rows[name] = Row(name=name, type=family.type, labels=labels, meaning=family.documentation)
    return rows


def tables() -> list[dict[str, Row]]:
    """The page's tables of metrics, in its order."""
    lines = PAGE.read_text().splitlines()
    found = []
    for at, line in enumerate(lines):
        if line == HEAD[0]:
            body = next(group for is_row, group in groupby(lines[at + 2 :], lambda one: one.startswith("|")) if is_row)
            found.append({row.name: row for row in map(row_of, body)})
    return found


def row_of(line: str) -> Row:
    """A line of a table."""
    name, kind, labels, meaning = (cell.strip() for cell in line.strip("|").split("|"))
    return Row(name=name.strip("`"), type=kind, labels=tuple(labels.replace("`", "").split()), meaning=meaning)
