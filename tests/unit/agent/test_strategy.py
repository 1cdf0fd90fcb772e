"""Detection of the injection strategy from what the NVIDIA container toolkit leaves on a host."""

from pathlib import Path

import pytest

from allocator.agent.strategy import cdi_gpus, detect
from allocator.api.inventory import Strategy

CONFIG = "etc/nvidia-container-runtime/config.toml"
OPERATOR = "usr/local/nvidia/toolkit/.config/nvidia-container-runtime/config.toml"
SPEC = '{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": []}'


def host(root: Path, files: dict[str, str]) -> Path:
    """A host's file system with these files."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def runtime(mode: str) -> str:
    """A runtime's configuration, the interesting line among others of the same name."""
    return (
        '[nvidia-container-cli]\nmode = "other"\n'
        f'[nvidia-container-runtime]\nlog-level = "info"\nmode = "{mode}"\n'
        '[nvidia-container-runtime.modes.csv]\nmode = "csv"\n'
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({CONFIG: runtime("legacy")}, Strategy.ENV),
        ({CONFIG: runtime("auto")}, Strategy.ENV),
        ({CONFIG: "[nvidia-container-cli]\n"}, Strategy.ENV),
        ({CONFIG: runtime("cdi")}, Strategy.CDI),
        ({OPERATOR: runtime("cdi"), CONFIG: runtime("legacy")}, Strategy.CDI),
        ({"usr/bin/nvidia-container-runtime": ""}, Strategy.ENV),
        ({"etc/cdi/nvidia.yaml": "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n"}, Strategy.CDI),
        ({"var/run/cdi/nvidia.json": SPEC}, Strategy.CDI),
        ({"var/run/cdi/nvidia.json": SPEC, CONFIG: runtime("legacy")}, Strategy.ENV),
    ],
)
def test_detects(files: dict[str, str], expected: Strategy, tmp_path: Path) -> None:
    """The configured mode decides; specs only where there is no runtime."""
    assert detect(host(tmp_path, files)) == (expected, "")


@pytest.mark.parametrize("files", [{}, {"etc/cdi/other.json": '{"kind": "amd.com/gpu"}'}, {"etc/cdi/nvidia.txt": SPEC}])
def test_a_host_without_either_is_none_with_a_remedy(files: dict[str, str], tmp_path: Path) -> None:
    """The node gets no grants, and the inventory says what to install."""
    strategy, reason = detect(host(tmp_path, files))
    assert strategy is Strategy.NONE
    assert "install the NVIDIA container toolkit" in reason


def test_finds_the_gpus_that_cdi_specs_name(tmp_path: Path) -> None:
    """In JSON and YAML, of NVIDIA's kind alone; names by index are of no use to us."""
    files = {
        "etc/cdi/nvidia.yaml": "kind: nvidia.com/gpu\ndevices:\n  - name: '0'\n  - name: GPU-0a1b-2c\n  - name: all\n",
        "var/run/cdi/more.json": '{"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-ffff-0"}]}',
        "etc/cdi/other.yaml": "kind: example.com/gpu\ndevices:\n  - name: GPU-dead-0\n",
    }
    assert cdi_gpus(host(tmp_path, files)) == {"GPU-0a1b-2c", "GPU-ffff-0"}
    assert cdi_gpus(tmp_path / "elsewhere") == frozenset()
