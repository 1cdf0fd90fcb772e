"""manifests/examples, each applied to an installed cluster, as its README says."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_stage import Stage

from allocator.api import names

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]
EXAMPLES = Path(__file__).parents[2] / "manifests" / "examples"
NAMESPACE = "examples"


class Team:
    """A user with kubectl and an opted-in namespace."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.kubectl("create", "namespace", NAMESPACE)
        self.kubectl("label", "namespace", NAMESPACE, f"{names.INJECT_LABEL}={names.INJECT_ENABLED}")
        self.apply("gpu-check")

    def kubectl(self, *argv: str, namespace: str = NAMESPACE) -> str:
        """What kubectl prints; it must end well."""
        ended = subprocess.run(  # noqa: S603 - ours
            ["kubectl", "-n", namespace, *argv],  # noqa: S607
            env=dict(self.stage.show.environment),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert ended.returncode == 0, f"{argv}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def apply(self, example: str, *, namespace: str = NAMESPACE) -> None:
        """Apply an example."""
        self.kubectl("apply", "-f", str(EXAMPLES / f"{example}.yaml"), namespace=namespace)

    def pods(self, *selector: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        """Pods by a selector."""
        found = json.loads(self.kubectl("get", "pods", "-o", "json", *selector, namespace=namespace))
        return list(found["items"])

    def finished(self, pod: str, *containers: str) -> dict[str, list[str]]:
        """What each container of a pod printed, once it has ended well."""
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{pod}", "--timeout=60s")
        return {name: self.kubectl("logs", pod, "-c", name).splitlines() for name in containers}


@pytest.fixture(scope="module")
def team(shared_stage: Stage) -> Iterator[Team]:
    """A user of an installed cluster."""
    if shared_stage.unwalled:
        pytest.skip(shared_stage.unwalled)
    made = Team(shared_stage)
    yield made
    made.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def sizes(lines: list[str]) -> list[str]:
    """The memory in each line about a GPU."""
    return [line.rpartition(", ")[2] for line in lines]


def test_every_example_is_tried() -> None:
    """By a test below; one that is added without a test is found here."""
    tried = Path(__file__).read_text()
    files = {file.stem for file in EXAMPLES.glob("*.yaml")}
    assert not {name for name in files if f'"{name}"' not in tried}
    readme = (EXAMPLES / "README.md").read_text()
    assert not {name for name in files if f"`{name}.yaml`" not in readme}


def test_the_sanity_check_sees_whole_gpus(team: Team) -> None:
    """Of the node that it came to, past vramshare."""
    team.apply("sanity-check")
    (lines,) = team.finished("sanity-check", "check").values()
    (pod,) = team.pods("--field-selector=metadata.name=sanity-check")
    node = next(one for one in team.stage.nodes if one.name == pod["spec"]["nodeName"])
    # All but the little that the driver keeps for itself.
    assert [int(size.split()[0]) >= 0.95 * node.memory for size in sizes(lines)] == [True] * node.gpus
    team.kubectl("delete", "pod", "sanity-check")


def test_two_workers_share_a_gpu_in_both_syntaxes(team: Team) -> None:
    """Each sees its own part of one GPU, whichever way it was asked for."""
    for example in ("worker-a", "worker-b", "worker-a-hami", "worker-b-hami"):
        team.apply(example)
    shares = {"worker-a": 20, "worker-b": 30, "worker-a-hami": 20, "worker-b-hami": 30}
    for name, percent in shares.items():
        team.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
        (pod,) = team.pods("-l", f"app={name}")
        line = pod["metadata"]["annotations"][names.allocation_annotation("worker")]
        node = next(one for one in team.stage.nodes if one.name == pod["spec"]["nodeName"])
        memory = int(line.split("memory=")[1].split()[0])
        assert abs(memory / (node.memory << 20) - percent / 100) < 0.02
        assert pod["spec"]["schedulerName"] == "default-scheduler"
    used = {pod["metadata"]["annotations"][names.DEVICES] for name in shares for pod in team.pods("-l", f"app={name}")}
    assert len(used) < len(shares), "no GPU is shared"
    team.kubectl("delete", "deployment", *shares)


def test_containers_have_their_own_sizes(team: Team) -> None:
    """And one without a slice has no GPU."""
    team.apply("multi-container")
    said = team.finished("multi-container", "server", "embedder", "logger")
    assert (sizes(said["server"]), sizes(said["embedder"])) == (["4096 MiB"], ["1024 MiB"])
    assert "no GPU, as it should be" in said["logger"]
    team.kubectl("delete", "pod", "multi-container")


def test_a_container_gets_slices_of_two_gpus(team: Team) -> None:
    """Of one node, each of the size asked for."""
    team.apply("multi-gpu")
    (lines,) = team.finished("multi-gpu", "main").values()
    assert sizes(lines) == ["3072 MiB"] * 2
    team.kubectl("delete", "pod", "multi-gpu")


def test_more_than_fits_waits_and_runs_in_the_end(team: Team) -> None:
    """Four of six pods have room at once; the others are gated and say why."""
    team.apply("queued")
    waiting: list[dict[str, Any]] = []

    def gated() -> bool:
        waiting[:] = [pod for pod in team.pods("-l", "app=queued") if pod["spec"].get("schedulingGates")]
        return bool(waiting)

    team.stage.show.until("some of the pods wait", gated, seconds=60)
    assert all(pod["metadata"]["annotations"][names.REASON] for pod in waiting)
    team.kubectl("wait", "--for=condition=complete", "job/queued", "--timeout=120s")
    team.kubectl("delete", "job", "queued")


def test_a_quota_holds_the_second_pod_back(team: Team) -> None:
    """Until the first is gone."""
    namespace = "example-quota"
    team.apply("quota", namespace=namespace)

    def settled() -> bool:
        states = sorted(
            pod["metadata"]["annotations"][names.STATUS] for pod in team.pods("-l", "app=limited", namespace=namespace)
        )
        return states == [names.STATUS_ALLOCATED, names.STATUS_QUEUED]

    team.stage.show.until("one pod runs and one waits", settled, seconds=60)
    (held,) = [pod for pod in team.pods("-l", "app=limited", namespace=namespace) if pod["spec"].get("schedulingGates")]
    assert "3Gi" in held["metadata"]["annotations"][names.REASON]
    team.kubectl("delete", "namespace", namespace, "--wait=false")
