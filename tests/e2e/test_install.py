"""docs/install.md from an empty cluster to the first isolated pod, docs/security.md on an installed one.

Here webhook and agents run as pods, from the manifests as they are, with the rights of their roles and nothing made
beforehand.
"""

from pathlib import Path

import pytest
from demo_stage import Stage

from tests.e2e.bare import bare
from tests.e2e.docs import Page

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


def test_from_an_empty_cluster_to_the_first_isolated_pod(
    shared_stage: Stage, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every command of the page, in its order; nothing is typed but them. The pod sees its slice."""
    if shared_stage.unwalled:
        pytest.skip(shared_stage.unwalled)
    page, shown = Page("install.md"), []
    with bare(tmp_path_factory.mktemp("bare")) as cluster:
        cluster.manifests(tmp_path / "manifests")
        for name, text in page.files().items():
            (tmp_path / name).write_text(text)
        for block in page.commands():
            shown.append(page.execute(block, tmp_path, cluster.show.environment))
            if "apply -k" in block:
                cluster.show.until("the webhook answers", cluster.ready, seconds=60)
    sane, first = [text for text in shown if "GPU 0: " in text]
    assert "2048 MiB" not in sane
    assert "2048 MiB" in first


def test_every_command_on_security_works(shared_stage: Stage, tmp_path: Path) -> None:
    """It shows the policies and the rights that the page speaks of."""
    page = Page("security.md")
    shown = page.run(tmp_path, shared_stage.show.environment)
    policies = {word.strip("`,;") for word in page.text.split() if word.startswith("`vramshare-")}
    missing = {one for one in policies if one.startswith("vramshare-") and one not in shown}
    assert not {one for one in missing if "system" not in one}


@pytest.mark.parametrize("name", ["install.md", "security.md", "architecture.md", "release.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link of these pages names a file of the repository."""
    page = Page(name)
    targets = [part.split(")")[0].split("#")[0] for part in page.text.split("](")[1:]]
    assert not [one for one in targets if not one.startswith("http") and not (page.path.parent / one).exists()]
