"""docs/migrate.md to the letter: a HAMi user's Deployments run unchanged, and rewritten."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_stage import Stage

from tests.e2e.docs import Page, installed

PAGE = Page("migrate.md")
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster with vramshare installed."""
    with installed(tmp_path_factory.mktemp("migrate")) as made:
        yield made


def test_hami_users_deployments_run_unchanged_and_rewritten(stage: Stage, tmp_path: Path) -> None:
    """Both on one GPU, with the sizes that HAMi would have given, in either syntax."""
    for name, text in PAGE.files().items():
        (tmp_path / name).write_text(text)
    *_, rewrite = blocks = PAGE.commands()
    for block in blocks[:-1]:
        PAGE.execute(block, tmp_path, stage.show.environment)
    unchanged = allocations(stage)
    *lines, delete = rewrite.splitlines()
    shown = PAGE.execute("\n".join(lines), tmp_path, stage.show.environment)
    assert "its comments are lost" in shown
    assert "vramshare.io/memory: 20%" in shown
    assert "nvidia.com" not in (tmp_path / "workers.yaml").read_text()
    assert len({line.split()[0] for line in unchanged.values()}) == 1, "both share one GPU"
    for found in (unchanged, allocations(stage)):
        assert {name: line.split()[2] for name, line in found.items()} == {
            "worker-a": "cores=25",
            "worker-b": "cores=40",
        }
    sizes = {name: int(line.split()[1].removeprefix("memory=")) for name, line in unchanged.items()}
    assert sizes["worker-a"] * 3 == pytest.approx(sizes["worker-b"] * 2, rel=0.001)
    PAGE.execute(delete, tmp_path, stage.show.environment)


def allocations(stage: Stage) -> dict[str, str]:
    """What each worker that runs holds, once the replaced ones are gone."""

    def found() -> dict[str, str] | None:
        listed = stage.show.ask("kubectl -n hami-users get pods")["items"]
        pods = [one for one in listed if "deletionTimestamp" not in one["metadata"]]
        if len(pods) != 2:
            return None
        return {
            one["metadata"]["labels"]["app"]: one["metadata"]["annotations"]["allocation.vramshare.io/worker"].strip()
            for one in pods
        }

    return stage.show.until("two workers", found, seconds=60)
