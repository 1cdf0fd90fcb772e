"""promtool on what both endpoints really say."""

import re

import pytest

from tests.monitoring.endpoints import Endpoints
from tests.monitoring.tools import promtool

HAMI = re.compile(r"^(Device_|GPUDevice|HostCore|HostGPU|QuotaUsed|nodeGPU|vGPU|hami_)")


@pytest.mark.parametrize("part", ["webhook", "agent"])
async def test_promtool_finds_nothing_wrong(part: str, both: Endpoints) -> None:
    """Names, units, types and help of all our own metrics; HAMi's names are as they are."""
    text = await both.text(getattr(both, part))
    assert "vramshare_" in text
    code, said = promtool("check", "metrics", given=text)
    complaints = [line for line in said.splitlines() if line and not HAMI.match(line)]
    assert not complaints
    assert code in (0, 3), said


@pytest.mark.parametrize("part", ["webhook", "agent"])
async def test_no_series_is_told_twice(part: str, both: Endpoints) -> None:
    """Prometheus would drop one of them, and tell nobody which."""
    series = [line.rpartition(" ")[0] for line in (await both.text(getattr(both, part))).splitlines() if line[0] != "#"]
    assert len(series) == len(set(series)) > 50
