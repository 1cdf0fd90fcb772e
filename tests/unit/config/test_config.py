"""Flags, environment, file and defaults, read alike and told alike."""

import argparse
from pathlib import Path

import pytest

from allocator.api.quantities import Memory
from allocator.config import (
    Option,
    Options,
    SettingError,
    listed,
    memory,
    number,
    one_of,
    resolved,
    table,
    text,
    whole,
    yes_no,
)

DECLARED = (
    Option("level", "info", "how loud", one_of("debug", "info"), shared=True, reloads=True),
    Option("port", 1, "where", whole(0, 10)),
    Option("hidden", False, "whether", yes_no),
    Option("names", ("a",), "who", listed, many=True),
    Option("node", None, "which", text, variables=("NODE_NAME",)),
    Option("ratio", 0.5, "how much", number(0, 1, "parts")),
    Option("size", Memory.mib(1), "how big", memory),
)


def chosen(*argv: str, **environ: str) -> argparse.Namespace:
    """The settings of a command line and an environment."""
    parser = argparse.ArgumentParser()
    Options("agent", DECLARED, environ).declare(parser)
    return resolved(parser.parse_args(argv))


def file(tmp_path: Path, content: str) -> str:
    """A settings file."""
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    return str(path)


def test_defaults() -> None:
    """Where nobody says anything."""
    found = chosen()
    assert (found.level, found.port, found.hidden, found.names, found.node) == ("info", 1, False, ("a",), None)


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """One step down per source."""
    path = file(tmp_path, "agent: {port: 2}\n")
    assert chosen().port == 1
    assert chosen("--config", path).port == 2
    assert chosen("--config", path, VRAMSHARE_PORT="3").port == 3
    assert chosen("--config", path, VRAMSHARE_PORT="3", VRAMSHARE_AGENT_PORT="4").port == 4
    assert chosen("--config", path, "--port=5", VRAMSHARE_PORT="3", VRAMSHARE_AGENT_PORT="4").port == 5


def test_file_by_environment_and_its_own_part_first(tmp_path: Path) -> None:
    """What both parts share stands on top, and may be overruled for one of them; the other's part is passed over."""
    path = file(tmp_path, "level: debug\nwebhook:\n  unknown-here: 1\nagent:\n  names: [x, y]\n  hidden: true\n")
    found = chosen(VRAMSHARE_CONFIG=path)
    assert (found.level, found.names, found.hidden) == ("debug", ("x", "y"), True)
    assert chosen(VRAMSHARE_CONFIG=file(tmp_path, "level: debug\nagent: {level: info}\n")).level == "info"
    assert chosen(VRAMSHARE_CONFIG=file(tmp_path, "")).level == "info"


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (("--port", "11"), {}, "--port is '11': write a whole number from 0 to 10"),
        (("--port", "-1"), {}, "--port is '-1'"),
        ((), {"VRAMSHARE_AGENT_HIDDEN": "maybe"}, "VRAMSHARE_AGENT_HIDDEN is 'maybe': write one of yes, no"),
        (("--ratio", "nan"), {}, "write a number of parts from 0 to 1"),
        (("--ratio", "x"), {}, "write a number of parts from 0 to 1"),
        (("--size", "4Mb"), {}, "write Mi"),
    ],
)
def test_mistakes_name_place_value_and_remedy(argv: tuple[str, ...], environ: dict[str, str], message: str) -> None:
    """Wherever they stand."""
    with pytest.raises(SettingError) as refused:
        chosen(*argv, **environ)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("agent: {prot: 1}", "settings.yaml: agent: prot is '1': no such setting; did you mean port?"),
        ("lvel: debug", "settings.yaml: lvel is 'debug': no such setting; did you mean level?"),
        ("port: 1", "port is '1': no such setting"),
        ("agent: {port: 1.5}", "settings.yaml: agent: port is '1.5': write a whole number"),
        ("agent: 7", "write `name: value` lines under it"),
        ("- a", "write `name: value` lines"),
        ("a: [", "write YAML"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, content: str, message: str) -> None:
    """File, key, value and what to write."""
    with pytest.raises(SettingError) as refused:
        chosen("--config", file(tmp_path, content))
    assert message in str(refused.value)


def test_missing_file_is_said() -> None:
    """A file that was named and is not there is no reason to run with defaults."""
    with pytest.raises(SettingError, match="cannot be read"):
        chosen("--config", "/nowhere/settings.yaml")


def test_flag_may_be_repeated_or_stand_bare() -> None:
    """As people are used to."""
    found = chosen("--names", "x", "--names", "y,z", "--hidden")
    assert (found.names, found.hidden) == (("x", "y", "z"), True)
    assert chosen("--hidden", "no").hidden is False


def test_manifests_own_variables_count() -> None:
    """What the downward API gives anyway; an empty variable says nothing."""
    assert chosen(NODE_NAME="n1").node == "n1"
    assert chosen(VRAMSHARE_NODE="n2", NODE_NAME="n1").node == "n2"
    assert chosen(VRAMSHARE_NODE="", NODE_NAME="n1").node == "n1"


def test_links_to_services_are_no_settings() -> None:
    """Kubernetes sets `VRAMSHARE_AGENT_PORT=tcp://…` where a Service is called `vramshare-agent`."""
    assert chosen(VRAMSHARE_AGENT_PORT="tcp://10.0.0.1:443").port == 1


def test_table_for_the_documents() -> None:
    """Name, default, meaning, and what is special."""
    lines = table(Options("agent", DECLARED, {})).splitlines()
    assert lines[2] == "| `level` (shared) (reloaded) | `info` | how loud |"
    assert lines[6] == "| `node` | `none` | which |"
