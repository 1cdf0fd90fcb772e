"""A real Prometheus scrapes a real webhook and a real agent's port: what it then knows is the truth."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.monitoring.dashboard import expressions
from tests.monitoring.endpoints import GIB, GPU, MODEL, NODE, SAMPLE, TRAINER, Endpoints
from tests.monitoring.prometheus import prometheus

TRAINER_LABELS = {"node": NODE, "namespace": "team", "pod": "trainer", "container": "main", "gpu": GPU}


@pytest.mark.xdist_group("prometheus")
async def test_what_prometheus_knows_is_the_truth(tmp_path: Path, both: Endpoints) -> None:
    """Scrapes go through, values are right, alerts fire, dashboards get answers, and series go with their pods."""
    targets = {"vramshare-webhook": both.webhook, "vramshare-agent": both.agent}
    async with prometheus(tmp_path / "prometheus", targets) as running:
        await running.until("sum(up)", lambda found: found == [({}, 2.0)])
        await running.until("sum(scrape_samples_scraped > 0)", lambda found: bool(found) and found[0][1] > 100)

        # Grants, as the ledger has them.
        [(labels, value)] = await running.query("vramshare_gpu_memory_allocated_bytes")
        assert value == 2 * GIB
        assert labels.items() >= {"node": NODE, "gpu": GPU, "model": MODEL}.items()
        assert (await running.query("vramshare_gpu_memory_capacity_bytes"))[0][1] == 15 * GIB
        assert (await running.query("sum(vramshare_gpu_cores_allocated_ratio)")) == [({}, 0.25)]
        assert (await running.query('sum(vramshare_admissions_total{result="granted"})')) == [({}, 1.0)]
        assert (await running.query('sum(vramshare_admissions_total{result="Invalid"})')) == [({}, 1.0)]

        # Use, as the sample has it; the tenant's namespace and pod, not the scraped target's.
        [(labels, value)] = await running.query('vramshare_container_memory_used_bytes{pod="trainer"}')
        assert value == GIB
        assert labels.items() >= TRAINER_LABELS.items()
        assert (await running.query("vramshare_gpu_temperature_celsius"))[0][1] == 61

        # The rules as delivered: all can be evaluated, and the violation is heard.
        await running.until('ALERTS{alertname="VramshareIsolationViolated",alertstate="firing"}', bool)
        rules = [rule for group in (await running.get("rules"))["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
        assert firing == {"VramshareIsolationViolated"}

        # Every query of the dashboard can be answered.
        for expression in expressions():
            await running.query(expression)

        # A pod that is gone is gone.
        both.latest.sample = replace(SAMPLE, containers=(TRAINER,))
        await running.until('vramshare_container_memory_used_bytes{pod="rogue"}', lambda found: not found)
        await running.until('ALERTS{alertname="VramshareIsolationViolated"}', lambda found: not found)
        assert len(await running.query("vramshare_container_memory_used_bytes")) == 1
