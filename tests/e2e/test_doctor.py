"""`vramshare doctor` on an installed cluster, healthy and broken in several ways, and back."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from demo_install import TEAM
from demo_stage import Stage

from tests.e2e.docs import ROOT, installed

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]
HAMI = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: hami-webhook}
webhooks:
  - name: vgpu.hami.io
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Ignore
    clientConfig: {url: "https://127.0.0.1:1/webhook"}
    rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
    namespaceSelector: {matchLabels: {hami: "yes"}}
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster with vramshare, a team, and one pod that runs."""
    with installed(tmp_path_factory.mktemp("doctor")) as made:
        shell(made, f"kubectl create namespace {TEAM} && kubectl label namespace {TEAM} vramshare.io/inject=enabled")
        shell(made, f"kubectl -n {TEAM} run p --image=x --annotations=vramshare.io/memory=2Gi --command -- sleep inf")
        shell(made, f"kubectl -n {TEAM} wait --for=condition=Ready pod/p --timeout=60s")
        yield made


def shell(stage: Stage, command: str, *, given: str = "", code: int = 0) -> str:
    """What a command prints; it must end with this code."""
    ended = subprocess.run(  # noqa: S603 - this test's own commands
        ["bash", "-c", command],  # noqa: S607
        env=dict(stage.show.environment),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == code, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def broken(stage: Stage, *, code: int) -> dict[str, str]:
    """The checks that say that something is broken, with the remedy."""
    told = json.loads(shell(stage, "vramshare doctor -o json", code=code))
    assert told["well"] is (code == 0)
    return {one["check"]: one["remedy"] for one in told["findings"] if one["level"] == "broken"}


def test_healthy(stage: Stage) -> None:
    """Nothing is broken and nothing is to be looked at."""
    assert shell(stage, "vramshare doctor --strict").endswith("all is well\n")


def test_registration_gone(stage: Stage) -> None:
    """The pod of the dry run goes through as it is, and the doctor says that this is what users' pods do."""
    saved = shell(stage, "kubectl get mutatingwebhookconfiguration vramshare -o json")
    shell(stage, "kubectl delete mutatingwebhookconfiguration vramshare")
    assert {"registration", "webhook"} <= broken(stage, code=1).keys()
    shell(stage, "kubectl create -f -", given=_bare(saved))
    stage.show.until("well again", lambda: '"well": true' in stage.show.text("vramshare doctor -o json"), seconds=60)


def test_policy_gone_and_hami_left(stage: Stage) -> None:
    """The remedies that it gives are commands, and they mend."""
    shell(stage, "kubectl create -f -", given=HAMI)
    shell(stage, "kubectl delete validatingadmissionpolicybinding vramshare-results")
    found = broken(stage, code=1)
    assert found.keys() == {"hami", "policies"}
    assert found["policies"] == "kubectl apply -k manifests/"
    shell(stage, found["hami"])
    shell(stage, "kubectl apply -f manifests/base/policies/results.yaml")
    assert broken(stage, code=0) == {}


def _bare(saved: str) -> str:
    """The registration as a manifest has it."""
    found = json.loads(saved)
    found["metadata"] = {"name": found["metadata"]["name"]}
    for one in found["webhooks"]:
        one["clientConfig"].pop("caBundle", None)
    return json.dumps(found)
