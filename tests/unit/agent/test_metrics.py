"""What a scrape of the agent shows of a sample."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from allocator.agent.hami import HamiCollector
from allocator.agent.metrics import SampleCollector, agent_registry
from allocator.agent.sample import AgentSample, ContainerSample, GpuSample, Latest, Sample, SliceSample
from allocator.api.isolation import Isolation

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SLICE = SliceSample(
    uuid="GPU-1",
    limit=2048,
    used=1024,
    peak=1536,
    overhead=256,
    host=1030,
    refused=3,
    cores=0.25,
    time_used=12.5,
    throttled=1.5,
)
TRAINER = ContainerSample(
    namespace="team", pod="trainer", uid="u1", container="main", state=Isolation.ISOLATED, slices=(SLICE,), processes=2
)
GPU = GpuSample(
    uuid="GPU-1",
    index=0,
    model="Tesla T4",
    total=16000,
    used=1100,
    free=14000,
    reserve=900,
    slices=1,
    utilisation=0.5,
    temperature=61.0,
    power=70.5,
)
SAMPLE = Sample(
    node="n1", at=NOW, gpus=(GPU,), containers=(TRAINER,), agent=AgentSample(usable=True, looks=7, failures=1)
)
CONTAINER = {"node": "n1", "namespace": "team", "pod": "trainer", "container": "main"}
ON_GPU = CONTAINER | {"gpu": "GPU-1"}
DEVICE = {"node": "n1", "gpu": "GPU-1"}


def registry_of(sample: Sample | None) -> CollectorRegistry:
    """A registry that tells this sample."""
    registry = CollectorRegistry()
    registry.register(SampleCollector(Latest(sample)))
    return registry


def text_of(registry: CollectorRegistry) -> str:
    """As Prometheus gets it."""
    return generate_latest(registry).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_used_bytes", 1024),
        ("memory_overhead_bytes", 256),
        ("memory_peak_bytes", 1536),
        ("memory_limit_bytes", 2048),
        ("memory_host_bytes", 1030),
        ("memory_refusals_total", 3),
        ("gpu_time_seconds_total", 12.5),
        ("gpu_time_throttled_seconds_total", 1.5),
        ("gpu_time_limit_ratio", 0.25),
    ],
)
def test_a_slice(name: str, value: float) -> None:
    """Each value under its own name, by node, namespace, pod, container and GPU."""
    assert registry_of(SAMPLE).get_sample_value(f"vramshare_container_{name}", ON_GPU) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_total_bytes", 16000),
        ("memory_used_bytes", 1100),
        ("memory_free_bytes", 14000),
        ("memory_reserved_bytes", 900),
        ("utilization_ratio", 0.5),
        ("temperature_celsius", 61),
        ("power_watts", 70.5),
        ("healthy", 1),
        ("slices", 1),
    ],
)
def test_a_gpu(name: str, value: float) -> None:
    """Each value under its own name, by node and GPU."""
    assert registry_of(SAMPLE).get_sample_value(f"vramshare_gpu_{name}", DEVICE) == value


def test_what_is_not_known_has_no_series() -> None:
    """An old driver that does not tell a GPU's power does not draw 0 watts; an uncapped container has no cap."""
    bare = replace(SAMPLE, gpus=(replace(GPU, power=None, used=None),), containers=(replace(TRAINER, slices=()),))
    registry = registry_of(bare)
    assert registry.get_sample_value("vramshare_gpu_power_watts", DEVICE) is None
    assert registry.get_sample_value("vramshare_gpu_memory_used_bytes", DEVICE) is None
    uncapped = registry_of(replace(SAMPLE, containers=(replace(TRAINER, slices=(replace(SLICE, cores=None),)),)))
    assert uncapped.get_sample_value("vramshare_container_gpu_time_limit_ratio", ON_GPU) is None
    assert uncapped.get_sample_value("vramshare_container_memory_limit_bytes", ON_GPU) == 2048


@pytest.mark.parametrize("state", [None, *Isolation])
def test_isolation_is_one_of_its_states(state: Isolation | None) -> None:
    """1 for the state, 0 for the others, so that an alert can wait for either; before judgement all 0."""
    registry = registry_of(replace(SAMPLE, containers=(replace(TRAINER, state=state, reason="pid 7"),)))
    for one in Isolation:
        labels = CONTAINER | {"state": one.value}
        assert registry.get_sample_value("vramshare_container_isolation", labels) == (one is state)
    assert "pid 7" not in text_of(registry)


def test_an_unhealthy_gpu_stays_listed() -> None:
    """An alert on 0 needs a series."""
    registry = registry_of(replace(SAMPLE, gpus=(replace(GPU, health="XID 79"),)))
    assert registry.get_sample_value("vramshare_gpu_healthy", DEVICE) == 0
    assert "XID" not in text_of(registry)


def test_the_agent_itself() -> None:
    """Whether its node is usable, and how it gets on."""
    registry = registry_of(SAMPLE)
    assert registry.get_sample_value("vramshare_agent_usable", {"node": "n1"}) == 1
    assert registry.get_sample_value("vramshare_agent_looks_total", {"node": "n1"}) == 7
    assert registry.get_sample_value("vramshare_agent_failed_looks_total", {"node": "n1"}) == 1
    assert registry.get_sample_value("vramshare_agent_look_timestamp_seconds", {"node": "n1"}) == NOW.timestamp()


def test_series_go_with_their_pod() -> None:
    """The next sample without it is the last that anybody hears."""
    latest = Latest(SAMPLE)
    registry = CollectorRegistry()
    registry.register(SampleCollector(latest))
    assert "trainer" in text_of(registry)
    latest.sample = replace(SAMPLE, containers=())
    assert "trainer" not in text_of(registry)


def test_nothing_is_told_before_the_first_look() -> None:
    """A node that was not looked at is not empty."""
    assert "vramshare" not in text_of(registry_of(None))


def test_one_name_has_one_series() -> None:
    """The folder of a pod that went lies beside its successor's: two values for one series would be refused."""
    former = replace(TRAINER, uid="u0", processes=0, slices=(replace(SLICE, used=1),))
    for order in ((former, TRAINER), (TRAINER, former)):
        text = text_of(registry_of(replace(SAMPLE, containers=order)))
        lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) == len(set(lines))
        assert (
            registry_of(replace(SAMPLE, containers=order)).get_sample_value(
                "vramshare_container_memory_used_bytes", ON_GPU
            )
            == 1024
        )


def test_of_several_without_a_name_a_violation_is_told() -> None:
    """Whoever cannot be named is named alike; the worst of them must be heard."""
    bad = replace(TRAINER, container="-", state=Isolation.VIOLATED, processes=1, slices=())
    fine = replace(TRAINER, container="-", state=Isolation.ISOLATED, processes=9, slices=())
    labels = CONTAINER | {"container": "-", "state": "violated"}
    for order in ((bad, fine), (fine, bad)):
        registry = registry_of(replace(SAMPLE, containers=order))
        assert registry.get_sample_value("vramshare_container_isolation", labels) == 1


def hami(latest: Latest) -> CollectorRegistry:
    """A registry with HAMi's names."""
    registry = CollectorRegistry()
    registry.register(HamiCollector(latest))
    return registry


def test_hami_names_of_a_container_and_a_gpu() -> None:
    """With HAMi's labels and units: percent, and the model with its maker's name."""
    value = hami(Latest(SAMPLE)).get_sample_value
    container = {"zone": "vGPU", "podnamespace": "team", "podname": "trainer", "ctrname": "main"}
    on_gpu = container | {"vdeviceid": "0", "deviceuuid": "GPU-1"}
    assert value("vGPU_device_memory_usage_in_bytes", on_gpu) == 1024
    assert value("vGPU_device_memory_limit_in_bytes", on_gpu) == 2048
    assert value("Device_memory_desc_of_container", on_gpu) == 1024
    device = {"zone": "vGPU", "nodeid": "n1", "deviceidx": "0", "deviceuuid": "GPU-1", "devicetype": "NVIDIA-Tesla T4"}
    assert value("HostGPUMemoryUsage", device) == 1100
    assert value("HostCoreUtilization", device) == 50
    today = {"zone": "vGPU", "namespace": "team", "pod": "trainer", "container": "main"}
    assert value("hami_vgpu_memory_used_bytes", today | {"vdevice_index": "0", "device_uuid": "GPU-1"}) == 1024
    device = {"zone": "vGPU", "node": "n1", "device_index": "0", "device_uuid": "GPU-1"}
    device["device_type"] = "NVIDIA-Tesla T4"
    assert value("hami_host_gpu_memory_used_bytes", device) == 1100
    assert value("hami_host_gpu_power_usage_watts", device) == 70.5


@pytest.mark.parametrize(
    ("seconds", "used", "percent"),
    [(10, 15.0, 25.0), (10, 12.5, 0.0), (10, 3.0, 0.0), (1, 99.0, 100.0), (0, 15.0, 0.0), (-5, 15.0, 0.0)],
)
def test_hami_utilisation_is_that_between_two_looks(seconds: float, used: float, percent: float) -> None:
    """From 12.5 s of GPU time on; a restart, a clock set back and a liar give no nonsense."""
    latest = Latest(SAMPLE)
    registry = hami(latest)
    on_gpu = {"zone": "vGPU", "podnamespace": "team", "podname": "trainer", "ctrname": "main"} | {
        "vdeviceid": "0",
        "deviceuuid": "GPU-1",
    }
    assert registry.get_sample_value("Device_utilization_desc_of_container", on_gpu) == 0
    later = replace(TRAINER, slices=(replace(SLICE, time_used=used),))
    latest.sample = replace(SAMPLE, at=NOW + timedelta(seconds=seconds), containers=(later,))
    for _ in range(2):  # a second Prometheus that scrapes the same sample sees the same
        assert registry.get_sample_value("Device_utilization_desc_of_container", on_gpu) == percent


def test_hami_names_on_request_only() -> None:
    """They double the series."""
    assert "vGPU_device" in text_of(agent_registry(Latest(SAMPLE), hami=True))
    plain = text_of(agent_registry(Latest(SAMPLE)))
    assert "vGPU_device" not in plain
    assert "hami" not in plain
