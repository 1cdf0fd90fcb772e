"""docs/metrics.md tells what there is: every metric, every alert, and queries that work."""

import re
from pathlib import Path

import yaml

from allocator.api import names
from allocator.controller.metrics import EVICTIONS, OUTCOMES, RESULTS, WHYS
from allocator.kube import Outcome
from tests.monitoring.dashboard import names_in
from tests.monitoring.endpoints import Endpoints
from tests.monitoring.page import PAGE, Row, tables, told
from tests.monitoring.test_dashboard import told as series
from tests.monitoring.test_rules import ALERTS
from tests.monitoring.tools import promtool

TEXT = PAGE.read_text()


async def test_the_tables_are_what_the_endpoints_tell(both: Endpoints) -> None:
    """Each metric once, with its type, its labels and its help text; nothing else."""
    agent, webhook = told(await both.text(both.agent)), told(await both.text(both.webhook))
    own, controls, everywhere, *hami = tables()
    for truth, here in ((agent, [own, everywhere, hami[0]]), (webhook, [controls, everywhere, hami[1]])):
        listed: dict[str, Row] = {}
        for table in here:
            assert not listed.keys() & table.keys()
            listed |= table
        missing = [row.line() for name, row in truth.items() if listed.get(name) != row]
        assert not missing, "write into docs/metrics.md:\n" + "\n".join(missing)
        assert listed.keys() <= truth.keys()


def test_the_alerts_are_all_there() -> None:
    """With their severity, and how long they wait."""
    rows = re.findall(r"^\| \[(\w+)\]\(troubleshoot.md#(\w+)\) \| (\w+) \| ([\w ]+) \|", TEXT, flags=re.MULTILINE)
    assert rows == [
        (
            rule["alert"],
            rule["annotations"]["runbook"].partition("#")[2],
            rule["labels"]["severity"],
            rule.get("for", "at once"),
        )
        for rule in ALERTS
    ]


def test_every_value_of_the_counted_labels_is_explained() -> None:
    """What a counter may say, the page tells."""
    section = TEXT.partition("## Labels that need a word\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`(\w+)`", section))
    assert {*OUTCOMES, *WHYS, *EVICTIONS, *RESULTS, *(one.value for one in Outcome)} <= explained


def queries() -> list[str]:
    """The page's queries: each begins at the start of a line."""
    (block,) = re.findall(r"^```promql\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    return re.split(r"\n(?=\S)", re.sub(r"^#.*\n|^\n", "", block, flags=re.MULTILINE).strip())


async def test_its_queries_ask_for_what_there_is(both: Endpoints, tmp_path: Path) -> None:
    """And promtool can read them."""
    known = series(await both.text(both.webhook)) | series(await both.text(both.agent))
    assert len(queries()) == 8
    for query in queries():
        assert names_in(query) <= known
    rules = [{"record": f"page:{at}", "expr": query} for at, query in enumerate(queries())]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "page", "rules": rules}]}))
    code, said = promtool("check", "rules", tmp_path / "queries.yaml")
    assert code == 0, said


def test_its_configuration_is_one(tmp_path: Path) -> None:
    """As promtool reads it, with the rules beside it. Debian's was built without discovery of Kubernetes' pods."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    configuration = yaml.safe_load(block)
    for job in configuration["scrape_configs"]:
        (discovery,) = job.pop("kubernetes_sd_configs")
        assert discovery == {"role": "pod", "namespaces": {"names": [names.DEFAULT_NAMESPACE]}}
        job["static_configs"] = [{"targets": ["localhost:9443"]}]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": ALERTS}]}))
    code, said = promtool("check", "config", tmp_path / "prometheus.yaml")
    assert code == 0, said
    assert f"{len(ALERTS)} rules found" in said
