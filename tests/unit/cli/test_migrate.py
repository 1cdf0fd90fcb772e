"""Manifests of HAMi's users, in vramshare's terms."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from allocator.api.errors import VramshareError
from allocator.api.request import Syntax, parse_pod
from allocator.cli.main import main
from allocator.cli.migrate import command, rewritten
from allocator.core.migration import Outcome, migrate

DEPLOYMENT = """\
# Two workers on one GPU.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: a
  namespace: team
spec:
  template:
    metadata:
      labels:
        app: a
    spec:
      schedulerName: hami-scheduler
      containers:
        - name: worker
          image: x
          resources:
            limits:
              cpu: "1"
              nvidia.com/gpu: 1
              nvidia.com/gpumem-percentage: 20
              nvidia.com/gpucores: 25
"""
SERVICE = """
apiVersion: v1   # stays
kind: Service
metadata: {name: s}
"""


def migrated(text: str) -> tuple[str, Outcome]:
    """A file's new text, and what is told."""
    outcome = Outcome()
    return rewritten(text, outcome, "x.yaml"), outcome


def pod(*containers: dict, annotations: dict | None = None, labels: dict | None = None, **spec) -> dict:
    """A pod."""
    metadata = {"name": "p", "annotations": annotations or {}, "labels": labels or {}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": list(containers), **spec}}


def asking(name: str = "c", **limits: int) -> dict:
    """A container with GPU resources."""
    return {
        "name": name,
        "resources": {"limits": {f"nvidia.com/{key.replace('_', '-')}": v for key, v in limits.items()}},
    }


def test_deployment() -> None:
    """Sizes become annotations of the pod, the scheduler goes, everything else stays."""
    new, outcome = migrated(DEPLOYMENT)
    template = yaml.safe_load(new)["spec"]["template"]
    assert template["metadata"]["annotations"] == {"vramshare.io/memory": "20%", "vramshare.io/cores": "25"}
    assert template["metadata"]["labels"] == {"app": "a"}
    assert template["spec"] == {"containers": [{"name": "worker", "image": "x", "resources": {"limits": {"cpu": "1"}}}]}
    assert outcome.namespaces == {"team"}
    assert outcome.notes == ["x.yaml: Deployment a: its comments are lost"]


def test_other_documents_stay_to_the_letter() -> None:
    """Comments and order of what is not HAMi's are nobody's business."""
    new, _ = migrated(DEPLOYMENT + "---" + SERVICE + "---\n")
    assert new.split("---\n")[1:] == [SERVICE.lstrip("\n"), ""]
    assert migrated(SERVICE)[0] == SERVICE


@pytest.mark.parametrize(
    ("containers", "annotations"),
    [
        ([asking(gpu=1)], {"vramshare.io/memory": "100%", "vramshare.io/cores": "100"}),
        ([asking(gpumem=3000)], {"vramshare.io/memory": "3000Mi"}),
        ([asking(gpu=2, gpumem=3000)], {"vramshare.io/memory": "3000Mi", "vramshare.io/gpus": "2"}),
        ([{"name": "first"}, asking(gpumem=10)], {"memory.vramshare.io/c": "10Mi"}),
        (
            [asking("a", gpumem=10), asking("b", gpumem=20)],
            {"memory.vramshare.io/a": "10Mi", "memory.vramshare.io/b": "20Mi"},
        ),
    ],
)
def test_sizes(containers: list[dict], annotations: dict[str, str]) -> None:
    """Pod-wide where that means the same, else each container's own."""
    made = migrate(pod(*containers), Outcome())
    assert made["metadata"]["annotations"] == annotations
    assert all("resources" not in one for one in made["spec"]["containers"])


SIZES = st.fixed_dictionaries(
    {},
    optional={
        "gpu": st.integers(0, 4),
        "gpumem": st.integers(1, 80000),
        "gpumem_percentage": st.integers(1, 100),
        "gpucores": st.integers(0, 100),
    },
)


@given(st.lists(SIZES, min_size=1, max_size=3))
def test_means_the_same(asked: list[dict[str, int]]) -> None:
    """The new manifest asks exactly what the old one asked."""
    before = pod(*(asking(f"c{number}", **one) for number, one in enumerate(asked)), schedulerName="hami-scheduler")
    try:
        request = parse_pod(before)
    except VramshareError:
        return
    after = parse_pod(migrate(before, Outcome()))
    assert after == (request and replace(request, syntax=Syntax.ANNOTATIONS))


def test_migrated_is_not_changed_again() -> None:
    """Twice is once."""
    once, _ = migrated(DEPLOYMENT)
    outcome = Outcome()
    assert rewritten(once, outcome, "x") == once
    assert not outcome.changed


def test_choices_of_gpus_and_policy() -> None:
    """Annotations with a counterpart are taken over; others go and are told."""
    annotations = {
        "nvidia.com/use-gputype": "Tesla T4, NVIDIA L40S",
        "nvidia.com/nouse-gpuuuid": "GPU-1",
        "hami.io/gpu-scheduler-policy": "binpack",
        "hami.io/resource-pool": "x",
        "team": "vision",
    }
    outcome = Outcome()
    made = migrate(pod(asking(gpumem=10), annotations=annotations), outcome)
    assert made["metadata"]["annotations"] == {
        "team": "vision",
        "vramshare.io/models": "Tesla T4,NVIDIA L40S",
        "vramshare.io/uuids": "!GPU-1",
        "vramshare.io/policy": "pack",
        "vramshare.io/memory": "10Mi",
    }
    assert any("hami.io/resource-pool has no counterpart" in one for one in outcome.notes)
    assert any("whole model names" in one for one in outcome.notes)


def test_opt_out() -> None:
    """A pod that HAMi was to leave alone is left alone."""
    made = migrate(pod({"name": "c"}, labels={"hami.io/webhook": "ignore", "app": "x"}), Outcome())
    assert made["metadata"]["labels"] == {"app": "x", "vramshare.io/inject": "disabled"}


def test_variables_of_hami_are_told() -> None:
    """They stay, and mean nothing."""
    outcome = Outcome()
    container = asking(gpumem=10) | {"env": [{"name": "CUDA_OVERSUBSCRIBE", "value": "true"}]}
    assert migrate(pod(container), outcome)["spec"]["containers"][0]["env"] == container["env"]
    assert "memory is never handed out twice" in outcome.notes[0]


def test_lists_and_cron_jobs() -> None:
    """Wherever a pod hides."""
    job = {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": pod(asking(gpumem=10))}}}}
    made = migrate({"kind": "List", "items": [job]}, Outcome())
    inner = made["items"][0]["spec"]["jobTemplate"]["spec"]["template"]
    assert inner["metadata"]["annotations"] == {"vramshare.io/memory": "10Mi"}


def test_what_cannot_be_understood_is_refused() -> None:
    """With the field and a remedy, as at admission."""
    with pytest.raises(VramshareError, match="gpumem"):
        migrate(pod(asking(gpumem=10, gpumem_percentage=20)), Outcome())
    with pytest.raises(VramshareError, match="no YAML"):
        migrated("a: [")


def test_command_writes_only_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--dry-run prints, --diff shows, --write changes the file, and each says how to opt in."""
    file = tmp_path / "a.yaml"
    file.write_text(DEPLOYMENT)
    assert main(["migrate", "--dry-run", "-f", str(file)]) == 0
    shown = capsys.readouterr()
    assert "vramshare.io/memory: 20%" in shown.out
    assert "kubectl label namespace team vramshare.io/inject=enabled" in shown.err
    assert file.read_text() == DEPLOYMENT
    assert main(["migrate", "--diff", "-f", str(file)]) == 0
    assert "-      schedulerName: hami-scheduler" in capsys.readouterr().out
    assert main(["migrate", "--write", "-f", str(file)]) == 0
    assert "20%" in file.read_text()
    monkeypatch.setattr(sys, "stdin", io.StringIO(SERVICE))
    assert main(["migrate", "-f", "-"]) == 0
    assert capsys.readouterr().out == SERVICE
    assert command.help
