"""The lookups that real frameworks made are answered alike with and without us."""

import json
from pathlib import Path

import pytest

from tests.native.support import Machine

ASK = """
import ctypes as c, json, sys
cu, nvml = c.CDLL("libcuda.so.1"), c.CDLL("libnvidia-ml.so.1")
answers = []
for how, name, version in json.loads(sys.argv[1]):
    if how == "dlsym":
        answers.append([name, hasattr(nvml if name.startswith("nvml") else cu, name)])
        continue
    for flags in (0, 2):
        function, status = c.c_void_p(), c.c_int(-1)
        code = cu.cuGetProcAddress_v2(name.encode(), c.byref(function), version, c.c_uint64(flags), c.byref(status))
        answers.append([name, version, flags, code, status.value, bool(function.value)])
print(json.dumps(answers))
"""


def recorded(folder: Path, program: str) -> list[tuple[str, str, int]]:
    """What one program asked for: how, name, version (0 where there is none)."""
    lines = (folder / "cuda-symbols" / f"{program}.txt").read_text().splitlines()
    words = [line.split() for line in lines]
    return [(how, rest[0] if rest else "", int(rest[1]) if len(rest) > 1 else 0) for how, *rest in words]


@pytest.mark.parametrize("program", ["torch", "triton", "jax", "cupy", "smi"])
def test_recorded_lookups_have_the_same_answers(machine: Machine, shared_data: Path, python: str, program: str):
    """Found, not found, and the status word: the same for every recorded lookup."""
    asked = json.dumps(recorded(shared_data, program))
    plain = json.loads(machine.run([python, "-c", ASK, asked]))
    capped = json.loads(machine.run([python, "-c", ASK, asked], memory="256Mi"))
    assert plain == capped
    found = [answer for answer in plain if answer[-1]]
    assert len(found) > len(plain) * 0.7, "the simulated driver knows too little to show anything"
