"""Our text of metrics is the library's, whatever they hold."""

import math
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from allocator.rendering import render

TEXTS = st.text(alphabet=st.one_of(st.sampled_from('\\"\n {}é'), st.characters(exclude_categories=["Cs"])), max_size=8)
NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
VALUES = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.booleans(), st.just(math.nan))


class Registry(Collector):
    """These metrics."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """Them."""
        return self._metrics


@st.composite
def families(draw: st.DrawFn) -> Metric:
    """A counter or a gauge with labels, with odd values, at times with a birthday or a moment."""
    labels = draw(st.lists(NAMES, max_size=3, unique=True))
    kind = draw(st.sampled_from([CounterMetricFamily, GaugeMetricFamily]))
    family = kind(f"vramshare_{draw(NAMES)}", draw(TEXTS), labels=labels)
    for _ in range(draw(st.integers(0, 3))):
        values = [draw(TEXTS) for _ in labels]
        if kind is CounterMetricFamily:
            created = draw(st.none() | st.floats(0, 1e9))
            family.add_metric(values, draw(VALUES), created=created)
        else:
            family.add_metric(values, draw(VALUES), timestamp=draw(st.none() | st.integers(0, 10**9)))
    return family


@settings(max_examples=150, deadline=None)
@given(st.lists(families(), max_size=4))
def test_counters_and_gauges(metrics: list[Metric]) -> None:
    """Labels in order, escaped; numbers as Go writes them; help on one line."""
    assert render(Registry(metrics)) == generate_latest(Registry(metrics))


def test_what_is_neither_is_left_to_the_library() -> None:
    """Histograms, summaries and infos, between others."""
    histogram = HistogramMetricFamily("vramshare_x_seconds", "X.", buckets=[("1", 2), ("+Inf", 3)], sum_value=2.5)
    summary = SummaryMetricFamily("vramshare_y_seconds", "Y.", count_value=3, sum_value=1.5)
    info = InfoMetricFamily("vramshare_z", "Z.", value={"version": "1"})
    gauge = GaugeMetricFamily("vramshare_g", "G.", value=1)
    registry = Registry([histogram, gauge, summary, info])
    assert render(registry) == generate_latest(registry)
