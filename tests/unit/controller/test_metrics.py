"""What a scrape of the allocator's metrics shows."""

from prometheus_client import CollectorRegistry, generate_latest

from allocator.controller.metrics import Metrics
from allocator.core.fragmentation import Fragmentation


def test_fragmentation_is_read_at_each_scrape() -> None:
    """Per model: GPUs, what is free, what of that nobody usual can use; models that are gone are gone."""
    now = {"tesla t4": Fragmentation(total=4.0, free=1.5, stranded=0.25)}
    registry = CollectorRegistry()
    Metrics(registry).follow(queued=lambda: 3.0, ages={"pods": lambda: 0.5}, fragmentation=lambda: now)
    text = generate_latest(registry).decode()
    assert 'vramshare_model_gpus{model="tesla t4"} 4.0' in text
    assert 'vramshare_model_free_gpus{model="tesla t4"} 1.5' in text
    assert 'vramshare_model_stranded_gpus{model="tesla t4"} 0.25' in text
    assert "vramshare_queued_pods 3.0" in text
    now.clear()
    assert "tesla" not in generate_latest(registry).decode()
