"""docs/settings.md against the programs."""

import argparse
from pathlib import Path

import pytest
import yaml

from allocator.agent.options import options as agent
from allocator.config import Options, resolved, table
from webhook.options import options as webhook

PAGE = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()


@pytest.mark.parametrize("options", [webhook({}), agent({})], ids=["webhook", "agent"])
def test_table_of_the_page_is_the_programs(options: Options) -> None:
    """Every setting with its default and meaning; if this fails, paste what it wanted."""
    assert table(options) in PAGE


@pytest.mark.parametrize("options", [webhook, agent], ids=["webhook", "agent"])
def test_file_of_the_page_is_read(options, tmp_path: Path) -> None:
    """By both parts, each taking its own."""
    text = PAGE.split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    parser = argparse.ArgumentParser()
    options({}).declare(parser)
    found = vars(resolved(parser.parse_args(["--config", str(file)])))
    content = yaml.safe_load(text)
    wanted = {**{key: value for key, value in content.items() if isinstance(value, str)}, **content[options({}).part]}
    assert {key: str(found[key.replace("-", "_")]) for key in wanted} == wanted


def test_defaults_are_what_their_readers_would_read() -> None:
    """A default that nobody could write would be told wrongly."""
    for options in (webhook({}), agent({})):
        for one in options.declared:
            if isinstance(one.default, str):
                assert str(one.read(one.default)) == one.default
            elif isinstance(one.default, int | float) and not isinstance(one.default, bool):
                assert one.read(str(one.default)) == one.default
