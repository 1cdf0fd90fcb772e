"""How an agent is put together out of its settings."""

import argparse
import os
from pathlib import Path

from allocator.agent.command import add_arguments, settings_of
from allocator.agent.hostproc import Proc
from allocator.agent.serve import process_table
from allocator.agent.settings import AgentSettings
from allocator.agent.simulated_proc import RECORDS

UID = "0b6f7a1e-0000-4000-8000-000000000001"


def settings(root: Path) -> AgentSettings:
    """Of an agent that asks NVML and sees its node's file system there."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, {})
    return settings_of(parser.parse_args(["--host-root", str(root)]))


def noted(root: Path) -> None:
    """A note of the embedded cluster's kubelet that this process is a pod's."""
    start = Proc(Path("/proc")).identity(os.getpid()).start
    (root / RECORDS).mkdir(parents=True)
    (root / RECORDS / str(os.getpid())).write_text(f"{start}\n0::/kubepods/besteffort/pod{UID}/{'ab' * 32}\nmain\n")


def test_a_real_gpu_on_the_embedded_cluster(tmp_path: Path) -> None:
    """Its pods' processes are theirs by the kubelet's notes, and what they hold is not foreign memory."""
    noted(tmp_path)
    owner = process_table(settings(tmp_path)).owner(os.getpid())
    assert owner is not None
    assert owner.uid == UID


def test_a_real_node_has_no_notes(tmp_path: Path) -> None:
    """There only the kernel tells."""
    found = process_table(settings(tmp_path))
    assert type(found) is Proc
