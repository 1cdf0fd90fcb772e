"""HAMi's metrics, in both generations of its names, for the dashboards of those who come from it.

HAMi has renamed its metrics and labels, and goes on telling the former ones on request (`--legacy-metrics`). Dashboards
read either, so each value is told under both. Labels stand in one order; only their names differ.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

ZONE: Final = "vGPU"
"""Value of the label `zone` on all of them."""
_RENAMED: Final[Mapping[str, str]] = {
    "nodeid": "node",
    "nodename": "node",
    "deviceidx": "device_index",
    "deviceuuid": "device_uuid",
    "devicetype": "device_type",
    "devicecores": "device_cores",
    "devicememorylimit": "device_memory_limit",
    "podnamespace": "namespace",
    "podname": "pod",
    "ctrname": "container",
    "vdeviceid": "vdevice_index",
    "containeridx": "container_index",
    "quotanamespace": "namespace",
    "quotaName": "quota_name",
    "limit": "limit",
}
"""Labels' names of today, by their former ones."""


@dataclass(frozen=True, slots=True)
class Named:
    """One of HAMi's metrics.

    Attributes:
        former: its name before; empty: it had none.
        today: its name.
        text: what it tells.
        labels: by their former names, without `zone`.
    """

    former: str
    today: str
    text: str
    labels: Sequence[str]

    def families(self) -> list[GaugeMetricFamily]:
        """It, without values, under each of its names."""
        found = []
        if self.former:
            found.append(GaugeMetricFamily(self.former, f"HAMi's name: {self.text}", labels=("zone", *self.labels)))
        labels = ("zone", *(_RENAMED[label] for label in self.labels))
        return [*found, GaugeMetricFamily(self.today, f"HAMi's name: {self.text}", labels=labels)]


class Told:
    """Collects values of some of HAMi's metrics."""

    def __init__(self, metrics: Iterable[Named]) -> None:
        self._families = {one.former or one.today: one.families() for one in metrics}

    def add(self, name: str, labels: Sequence[str], value: float) -> None:
        """Tell a value, under all names of the metric whose first name this is."""
        for family in self._families[name]:
            family.add_metric((ZONE, *labels), value)

    def metrics(self) -> list[Metric]:
        """All of them."""
        return [family for families in self._families.values() for family in families]


def device_type(model: str) -> str:
    """HAMi's name of a GPU model."""
    return f"NVIDIA-{model}"
