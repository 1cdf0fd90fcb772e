"""Both programs take what docs/metrics.md says."""

import argparse
from pathlib import Path

from allocator.agent import command as agent
from webhook import command as webhook


def test_the_webhook() -> None:
    """Where to listen, and whether in HAMi's words too."""
    parser = argparse.ArgumentParser()
    webhook.add_arguments(parser, {})
    args = parser.parse_args(["--metrics-host", "::1", "--metrics-port", "7", "--hami-metrics", "yes"])
    server = webhook.settings_of(args, token=Path("/nowhere")).server
    assert (server.metrics_host, server.metrics_port) == ("::1", 7)
    assert webhook.allocator_settings_of(args).hami_metrics
    assert not webhook.allocator_settings_of(parser.parse_args([])).hami_metrics


def test_the_agent() -> None:
    """Where to listen, and whether in HAMi's words too."""
    parser = argparse.ArgumentParser()
    agent.add_arguments(parser, {})
    found = agent.settings_of(
        parser.parse_args(["--metrics-host", "::1", "--metrics-port", "7", "--hami-metrics"])
    ).metrics
    assert (found.host, found.port, found.hami) == ("::1", 7, True)
    found = agent.settings_of(parser.parse_args([])).metrics
    assert (found.port, found.hami) == (9444, False)
