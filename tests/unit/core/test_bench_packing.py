"""The packing benchmark on a trace of a few lines."""

import json
from pathlib import Path

import pytest
from bench_packing import main, seeds

from allocator.core.policies import Policies

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,8000,65536,2,T4\nn2,16000,65536,4,G2\n"
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p1,1000,1024,1,500,,LS,Running,0,100,0
p2,1000,1024,1,1000,T4|G2,LS,Running,10,50,10
p3,1000,1024,2,1000,,LS,Running,20,400,20
p4,2000,1024,0,0,,LS,Running,30,200,30
p5,1000,1024,1,300,G3,LS,Running,40,200,40
"""


@pytest.fixture
def trace(tmp_path: Path) -> list[str]:
    """Arguments that name the trace."""
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "pods.csv").write_text(PODS)
    return ["--nodes", str(tmp_path / "nodes.csv"), "--pods", str(tmp_path / "pods.csv"), "--json"]


@pytest.mark.parametrize("policy", Policies().names())
def test_every_policy_packs(trace: list[str], policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every policy fills the six GPUs, refuses nothing that fits, and is the same for the same seed."""
    outcomes = []
    for _ in range(2):
        assert main([*trace, "--policy", policy, "--seeds", "42-43"]) == 0
        outcomes.append(json.loads(capsys.readouterr().out)["mean"])
    assert outcomes[0]["refused_wrongly"] == 0
    assert 80 <= outcomes[0]["at_130"] <= 100
    assert {key: outcomes[0][key] for key in ("at_100", "at_130")} == {
        key: outcomes[1][key] for key in ("at_100", "at_130")
    }


def test_churn_gives_back(trace: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With departures GPUs come free, and what fits nowhere at all waits to the end."""
    assert main([*trace, "--churn", "--seeds", "42", "--until", "300"]) == 0
    mean = json.loads(capsys.readouterr().out)["mean"]
    assert 0 < mean["allocated"] <= mean["allocated_peak"] <= 100
    assert mean["queued_at_end"] >= 1
    assert len(mean["allocated_over_time"]) == 10


def test_churn_begins_with_a_cluster_in_use(trace: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The first tenth of the time is about as full as the rest."""
    assert main([*trace, "--churn", "--seeds", "42", "--until", "80"]) == 0
    over_time = json.loads(capsys.readouterr().out)["mean"]["allocated_over_time"]
    assert over_time[0] > 30


def test_seeds_are_ranges_and_lists() -> None:
    """`42-44,50` means four seeds."""
    assert seeds("42-44,50") == [42, 43, 44, 50]
