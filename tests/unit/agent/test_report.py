"""What the agent says of its node."""

from dataclasses import replace
from pathlib import Path

from allocator.agent.gpus import Reading
from allocator.agent.interposer import Installed
from allocator.agent.report import (
    GONE,
    NO_DRIVER,
    NO_GPU,
    NOT_IN_CDI,
    Preparation,
    describe,
    unanswered,
    without_driver,
)
from allocator.api.inventory import Gpu, Inventory, Strategy
from allocator.api.quantities import Memory

T4 = Gpu(uuid="GPU-a", index=0, model="Tesla T4", memory=Memory.mib(16384))
L40S = Gpu(uuid="GPU-b", index=1, model="NVIDIA L40S", memory=Memory.mib(49152))
READY = Preparation(installed=Installed(file=Path("/h/x.so"), path="/opt/x.so", sha256="ab"), strategy=Strategy.ENV)
BOTH = Reading(gpus=(T4, L40S), driver="570.1", cuda="12.8")


def test_a_prepared_node_with_gpus_is_usable() -> None:
    """Everything found stands in the inventory, and it survives the ConfigMap."""
    said = describe("n1", BOTH, READY, before=None)
    assert said.usable
    assert (said.driver, said.cuda, said.interposer, said.interposer_sha256) == ("570.1", "12.8", "/opt/x.so", "ab")
    assert Inventory.from_data(said.to_data()) == said


def test_an_interposer_that_does_not_load_makes_the_node_unusable() -> None:
    """The reason is the test process' own."""
    said = describe("n1", BOTH, replace(READY, reason="noexec"), before=None)
    assert not said.usable
    assert said.reason == "noexec"
    assert len(said.gpus) == 2


def test_a_failed_installation_names_no_interposer() -> None:
    """No path may be given to containers that is not there."""
    said = describe("n1", BOTH, Preparation(installed=None, strategy=Strategy.ENV, reason="full"), before=None)
    assert (said.interposer, said.usable) == ("", False)


def test_a_driver_without_gpus_says_so() -> None:
    """An empty list is a state, not an error."""
    assert describe("n1", Reading(driver="570"), READY, before=None).reason == NO_GPU


def test_a_gpu_that_vanishes_stays_listed_as_gone_until_it_returns() -> None:
    """Grants may name it; new ones must not."""
    before = describe("n1", BOTH, READY, before=None)
    lost = describe("n1", replace(BOTH, gpus=(L40S,)), READY, before=before)
    assert {gpu.uuid: gpu.health for gpu in lost.gpus} == {"GPU-b": "ok", "GPU-a": GONE}
    again = describe("n1", BOTH, READY, before=lost)
    assert [gpu.health for gpu in again.gpus] == ["ok", "ok"]


def test_an_unanswered_reading_keeps_the_gpus_and_stops_new_grants() -> None:
    """Existing grants stay legible; a GPU's own trouble is not overwritten."""
    sick = replace(T4, health="MIG is enabled")
    before = describe("n1", Reading(gpus=(sick, L40S)), READY, before=None)
    said = unanswered("n1", "NVML does not answer", before=before)
    assert not said.usable
    assert [gpu.health for gpu in said.gpus] == ["MIG is enabled", "NVML does not answer"]


def test_an_unanswered_first_reading_is_a_node_without_gpus() -> None:
    """Nothing is known, and the reason is told."""
    said = unanswered("n1", "NVML fails: version mismatch", before=None)
    assert (said.gpus, said.reason) == ((), "NVML fails: version mismatch")
    assert not said.usable


def test_a_node_that_never_had_a_driver_says_nothing() -> None:
    """It costs the API server no object."""
    assert without_driver("n1", before=None) is None


def test_a_driver_that_goes_is_told() -> None:
    """The inventory of before must not stand as if nothing had happened."""
    said = without_driver("n1", before=describe("n1", BOTH, READY, before=None))
    assert said is not None
    assert said.reason == NO_DRIVER
    assert not said.usable


def test_a_gpu_that_cdi_cannot_resolve_takes_no_grants() -> None:
    """A container with its name would not start; a GPU's own trouble is told first."""
    sick = replace(T4, uuid="GPU-c", health="MIG is enabled")
    preparation = replace(READY, strategy=Strategy.CDI, in_cdi=frozenset({"GPU-a"}))
    said = describe("n1", Reading(gpus=(T4, L40S, sick)), preparation, before=None)
    assert [gpu.health for gpu in said.gpus] == ["ok", NOT_IN_CDI, "MIG is enabled"]
    assert said.usable
