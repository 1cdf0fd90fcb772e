"""The alerts: tried by promtool, and complete for whoever is woken by one."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.tools import OVERLAY, promtool

RULES = yaml.safe_load((OVERLAY / "rules.yaml").read_text())
CASES = Path(__file__).with_name("alerts.yaml")
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in ALERTS]


def test_promtool_finds_nothing_wrong() -> None:
    """With the file as it is delivered."""
    code, said = promtool("check", "rules", "--lint=all", "--lint-fatal", OVERLAY / "rules.yaml")
    assert code == 0, said
    assert f"{len(ALERTS)} rules found" in said


def tried(folder: Path, rules: dict[str, Any]) -> tuple[int, str]:
    """The cases of alerts.yaml on these rules, of whose annotations the summary alone is kept."""
    bare = [
        group
        | {"rules": [rule | {"annotations": {"summary": rule["annotations"]["summary"]}} for rule in group["rules"]]}
        for group in rules["groups"]
    ]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": bare}))
    shutil.copy(CASES, folder)
    return promtool("test", "rules", folder / CASES.name)


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """On series that lead up to it, and on those beside it."""
    code, said = tried(tmp_path, RULES)
    assert code == 0, said


def test_a_broken_alert_is_noticed(tmp_path: Path) -> None:
    """The cases tell a rule that never fires from one that does."""
    dead = {"groups": [{"name": "dead", "rules": [rule | {"expr": "vector(1) > 2"} for rule in ALERTS]}]}
    code, said = tried(tmp_path, dead)
    assert code != 0
    assert not [name for name in NAMES if name not in said]


def test_every_alert_has_a_case_in_which_it_stays_silent() -> None:
    """Firing always would pass for working else."""
    cases = [one for case in yaml.safe_load(CASES.read_text())["tests"] for one in case["alert_rule_test"]]
    silent = {one["alertname"] for one in cases if not one.get("exp_alerts")}
    fires = {one["alertname"] for one in cases if one.get("exp_alerts")}
    assert silent == fires | silent == set(NAMES) == fires


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_who_is_woken_knows_what_to_do(rule: dict[str, Any]) -> None:
    """A summary for the pager, a description, a severity, and a section of the runbook that exists."""
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert "\n" not in notes["summary"]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    page, _, anchor = notes["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (OVERLAY.parents[2] / page).read_text(), flags=re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_the_operator_gets_the_same_rules() -> None:
    """`scripts/monitoring` was run after the last edit."""
    made = yaml.safe_load((OVERLAY / "prometheusrule.yaml").read_text())
    assert made["spec"] == RULES
