"""docs/troubleshoot.md: its commands work, and show what the page says that they show."""

from pathlib import Path

import pytest
from demo_stage import Stage

from tests.e2e.docs import Page

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


def test_every_command_of_the_page_works(shared_stage: Stage, tmp_path: Path) -> None:
    """The pod that cannot fit says what is missing, the other one what it got."""
    shown = Page("troubleshoot.md").run(tmp_path, shared_stage.show.environment)
    assert "SchedulingGated" in shown
    assert "500Gi" in shown
    assert "allocated" in shown
    assert "allocation.vramshare.io/main: " in shown
