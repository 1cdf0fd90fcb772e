"""docs/operate.md to the letter, the last of its commands included: vramshare is gone and no pod is stuck."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_stage import Stage

from tests.e2e.docs import Page, installed

PAGE = Page("operate.md")
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster with vramshare installed."""
    with installed(tmp_path_factory.mktemp("operate")) as made:
        yield made


def test_every_command_of_the_page_works(stage: Stage, tmp_path: Path) -> None:
    """Check, drain, uninstall; the pod that ran runs on, the one that waited was let go, and nothing is left."""
    shown = PAGE.run(tmp_path, stage.show.environment)
    assert "all is well" in shown
    assert "evicting pod ops/trainer" in shown
    assert "pod ops/waiting waits for a GPU: let go, without a GPU (dry run)" in shown
    pods = {one["metadata"]["name"]: one for one in stage.show.ask("kubectl -n ops get pods")["items"]}
    assert pods["stays"]["status"]["phase"] == "Running"
    assert not pods["waiting"]["spec"].get("schedulingGates")
    kinds = "mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings"
    kinds += ",clusterroles,clusterrolebindings,namespaces"

    def gone() -> bool:
        return not stage.show.text(f"kubectl get {kinds} -l app.kubernetes.io/part-of=vramshare -o name")

    stage.show.until("nothing is left", gone, seconds=60)
