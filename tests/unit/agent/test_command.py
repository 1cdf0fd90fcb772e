"""`vramshare agent`: what its command line and environment say."""

import argparse
from pathlib import Path

import pytest

from allocator.agent.agent import Pace
from allocator.agent.command import add_arguments, settings_of
from allocator.agent.options import DEFAULT_INTERPOSER
from allocator.agent.settings import AgentSettings
from allocator.api.inventory import Strategy
from allocator.config import SettingError


def parsed(*argv: str, **environ: str) -> AgentSettings:
    """The settings of one call."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser, environ)
    return settings_of(parser.parse_args(argv))


def test_a_daemonset_needs_no_arguments() -> None:
    """Node and namespace come by the downward API, the rest has defaults."""
    settings = parsed(NODE_NAME="gpu-1", POD_NAMESPACE="gpu-system")
    assert (settings.node, settings.namespace) == ("gpu-1", "gpu-system")
    assert settings.interposer == Path(DEFAULT_INTERPOSER)
    assert settings.host_dir == Path("/var/lib/vramshare")
    assert settings.strategy is None
    assert settings.simulate is None
    assert settings.kube.kubeconfig is None
    assert settings.pace == Pace()


def test_the_command_line_wins() -> None:
    """Over the environment."""
    settings = parsed("--node", "gpu-2", "--interposer", "/x.so", NODE_NAME="gpu-1", VRAMSHARE_INTERPOSER="/y.so")
    assert (settings.node, settings.interposer) == ("gpu-2", Path("/x.so"))


def test_the_interposer_may_come_by_environment() -> None:
    """An image sets it once."""
    assert parsed(VRAMSHARE_INTERPOSER="/y.so").interposer == Path("/y.so")


@pytest.mark.parametrize(("text", "expected"), [("auto", None), ("env", Strategy.ENV), ("cdi", Strategy.CDI)])
def test_the_strategy_is_detected_unless_named(text: str, expected: Strategy | None) -> None:
    """`auto` asks the host."""
    assert parsed("--strategy", text).strategy is expected


@pytest.mark.parametrize("argv", [("--strategy", "none"), ("--turn", "0"), ("--turn", "inf"), ("--log-level", "loud")])
def test_what_cannot_be_is_refused(argv: tuple[str, ...]) -> None:
    """With the place, the value and what to write."""
    with pytest.raises(SettingError, match="write"):
        parsed(*argv)
