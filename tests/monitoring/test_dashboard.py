"""The dashboard asks for what there is, and Grafana finds it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.monitoring.dashboard import DASHBOARD, expressions, names_in, panels, variables
from tests.monitoring.endpoints import Endpoints
from tests.monitoring.test_rules import ALERTS
from tests.monitoring.tools import OVERLAY, promtool


def rendered(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    kubectl = Path(sys.executable).with_name("kubectl")
    ended = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True)  # noqa: S603 - ours
    return list(yaml.safe_load_all(ended.stdout))


def told(text: str) -> set[str]:
    """The series that an answer names, histograms by their parts, whether or not one has a value now."""
    found = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            found |= {name + part for part in parts}
    return found


async def test_every_query_asks_for_series_that_exist(both: Endpoints) -> None:
    """Of the dashboard, of its variables, and of the alerts."""
    known = told(await both.text(both.webhook)) | told(await both.text(both.agent))
    asked = set().union(*map(names_in, [*expressions(), *variables(), *(rule["expr"] for rule in ALERTS)]))
    assert asked
    assert asked <= known


def test_promtool_can_read_every_query(tmp_path: Path) -> None:
    """As a rule that records it."""
    rules = [{"record": f"panel:{at}", "expr": expression} for at, expression in enumerate(expressions())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool("check", "rules", file)
    assert code == 0, said


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_explains_itself(panel: dict) -> None:
    """A title, a sentence, a unit, and a place of its own."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_no_two_panels_overlap() -> None:
    """Grafana would push one of them away."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        mine = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & mine, panel["title"]
        taken |= mine
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("version", [f"1.{minor}" for minor in range(30, 38)])
def test_what_is_no_custom_resource_is_valid(version: str) -> None:
    """Against the published schemas, unknown fields refused."""
    known = [one for one in rendered(OVERLAY) if one["apiVersion"] == "v1"]
    assert {one["kind"] for one in known} == {"ConfigMap", "Service"}
    for one in known:
        kubernetes_validate.validate(one, version, strict=True)


def test_grafana_finds_the_dashboard_and_the_operator_the_rest() -> None:
    """The overlay as kubectl renders it: a labelled ConfigMap with the file, monitors of ports that the pods have."""
    objects = {
        (one["kind"], one["metadata"]["name"]): one for one in [*rendered(OVERLAY), *rendered(OVERLAY.parents[1])]
    }
    config = objects["ConfigMap", "vramshare-dashboard"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config["data"]["vramshare.json"]) == DASHBOARD
    assert ("PrometheusRule", "vramshare") in objects
    for part, workload in (("webhook", "Deployment"), ("agent", "DaemonSet")):
        monitor = objects["ServiceMonitor", f"vramshare-{part}"]["spec"]
        service = objects["Service", f"vramshare-{part}-metrics"]
        pod = objects[workload, f"vramshare-{part}"]["spec"]["template"]
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        (endpoint,) = monitor["endpoints"]
        assert endpoint["honorLabels"] is True
        (port,) = service["spec"]["ports"]
        assert port["name"] == endpoint["port"]
        assert port["targetPort"] in {one["name"] for one in pod["spec"]["containers"][0]["ports"]}
