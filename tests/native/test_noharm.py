"""Programs that have nothing to do with CUDA behave exactly as without us."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from tests.native.support import Machine, tool

PYTHON_WITHOUT_CUDA = (
    "import json, threading, subprocess; print(json.dumps(subprocess.check_output(['id'], text=True)))"
)

THREADS_AND_FORK = """
import os, threading
threads = [threading.Thread(target=sum, args=(range(10**5),)) for _ in range(8)]
[thread.start() for thread in threads]
pid = os.fork() or os._exit(7)
[thread.join() for thread in threads]
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

UMASK_AND_SIGNALS = """
import os, signal
print(oct(os.umask(0o27)), [signal.getsignal(number) for number in (11, 15, 17)])
"""

COMMANDS = {
    "shell": ["sh", "-c", "for i in 1 2 3; do echo $i | cat; done; (exit 3) || echo caught"],
    "bash": ["bash", "-c", "x=$(printf %s a b c | tr a-z A-Z); trap 'echo bye' EXIT; echo $x; kill -0 $$"],
    "ls": ["ls", "-l", "/usr/bin/env"],
    "env": ["env", "-u", "LD_PRELOAD", "true"],
    "python": ["python3", "-c", PYTHON_WITHOUT_CUDA],
    "threads and fork": ["python3", "-c", THREADS_AND_FORK],
    "umask and signals": ["python3", "-c", UMASK_AND_SIGNALS],
    "tar pipe": ["sh", "-c", "tar -cf - /etc/hostname 2>/dev/null | tar -tf -"],
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("now", ["", "1"], ids=["lazy", "bind-now"])
def test_ordinary_programs_are_not_disturbed(machine: Machine, name: str, now: str):
    """Output, errors and exit code are the same with a slice, without one, and without us."""
    plain = machine.attempt(COMMANDS[name], LD_BIND_NOW=now)
    preloaded = machine.attempt(COMMANDS[name], LD_PRELOAD=str(machine.native.interposer), LD_BIND_NOW=now)
    capped = machine.attempt(COMMANDS[name], memory="256Mi", LD_BIND_NOW=now)
    result = (plain.returncode, plain.stdout, plain.stderr)
    assert (preloaded.returncode, preloaded.stdout, preloaded.stderr) == result
    assert (capped.returncode, capped.stdout, capped.stderr) == result


def test_a_program_without_cuda_makes_no_region(machine: Machine):
    """The shared region appears with the first use of the driver, not before."""
    machine.run(["python3", "-c", PYTHON_WITHOUT_CUDA], memory="256Mi")
    assert not machine.region.exists()


def test_the_environment_of_children_is_theirs(machine: Machine):
    """Children of a capped program see the same variables as without us."""
    plain = machine.environment(memory="256Mi")
    seen = machine.run(["sh", "-c", "env"], memory="256Mi").splitlines()
    assert {line for line in seen if not line.startswith(("PWD=", "SHLVL=", "_=", "OLDPWD="))} == {
        f"{name}={value}" for name, value in plain.items()
    }


def compile_c(tmp_path: Path, source: str, *options: str) -> Path:
    """Compiles a small program."""
    code, program = tmp_path / "program.c", tmp_path / "program"
    code.write_text(source)
    tool(["cc", "-o", str(program), str(code), *options])
    return program


HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 4; }\n'


def test_static_programs_run(machine: Machine, tmp_path: Path):
    """A static program never loads us, and runs."""
    program = compile_c(tmp_path, HELLO, "-static")
    done = machine.attempt([str(program)], memory="256Mi")
    assert (done.returncode, done.stdout, done.stderr) == (4, "hello\n", "")


def test_setuid_programs_run(machine: Machine, tmp_path: Path):
    """A set-user-ID program run by someone else works, and reads no setting from the environment."""
    program = compile_c(tmp_path, HELLO)
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv (util-linux)")
    program.chmod(0o4755)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(program)]
    done = machine.attempt(as_nobody, memory="256Mi")
    assert (done.returncode, done.stdout) == (4, "hello\n")
    assert not machine.region.exists()


DEEPBIND = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int main(void)
{
    void *maths = dlopen("libm.so.6", RTLD_NOW | RTLD_DEEPBIND);
    double (*root)(double) = (double (*)(double))dlsym(maths, "sqrt");
    printf("%.0f\\n", root(81));
    return dlclose(maths);
}
"""


def test_deepbind_still_loads(machine: Machine, tmp_path: Path):
    """Libraries loaded with RTLD_DEEPBIND work; we do not forbid them as sanitizers do."""
    program = compile_c(tmp_path, DEEPBIND, "-ldl")
    assert machine.run([str(program)], memory="256Mi") == "9\n"


def test_valgrind_runs(machine: Machine):
    """A program under valgrind runs, and valgrind finds no error in us."""
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind")
    done = machine.attempt(
        ["valgrind", "-q", "--error-exitcode=9", machine.command("probe", "handle", 0)[0], "handle", "1000000"],
        memory="256Mi",
    )
    assert done.returncode == 0, done.stderr
    assert "code=0" in done.stdout


@pytest.fixture(scope="session")
def musl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Musl's loader: the machine's own, or unpacked from the distribution's package."""
    for installed in sorted(Path("/lib").glob("ld-musl-*.so.1")):
        return installed
    folder = tmp_path_factory.mktemp("musl")
    with contextlib.suppress(AssertionError):
        tool(["sh", "-c", "apt-get -q download musl && dpkg -x musl_*.deb ."], folder=folder)
    for unpacked in sorted(folder.glob("**/ld-musl-*.so.1")):
        return unpacked
    pytest.skip("needs musl's loader: apt-get install musl")


def test_musl_programs_run(machine: Machine, musl: Path, python: str, tmp_path: Path):
    """Under musl's loader a program starts and runs with us preloaded."""
    source = tmp_path / "hello.c"
    source.write_text(HELLO)
    program = tmp_path / "hello"
    target = f"{os.uname().machine}-linux-musl"
    tool([python, "-m", "ziglang", "cc", "-target", target, "-dynamic", "-o", str(program), str(source)])
    plain = machine.attempt([str(musl), str(program)])
    capped = machine.attempt([str(musl), str(program)], memory="256Mi")
    assert (plain.returncode, plain.stdout) == (4, "hello\n")
    assert (capped.returncode, capped.stdout) == (4, "hello\n"), capped.stderr
