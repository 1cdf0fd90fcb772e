"""The pure parts of the container shim."""

import os
import pathlib
import subprocess
import sys

import pytest
from devcluster.kubelet.leftovers import mounts_below
from devcluster.kubelet.plan import PROCESS, USER_NAMESPACES, Bind, Plan, is_below
from devcluster.kubelet.runtime import detect_isolation, start
from devcluster.kubelet.shim.rootfs import inside, top_mounts
from devcluster.kubelet.shim.skeleton import parents
from hypothesis import given
from hypothesis import strategies as st

MOUNTS = """\
20 1 254:0 / / rw - ext4 /dev/vda rw
21 20 0:21 / /proc rw - proc proc rw
22 20 0:22 / /mnt/a\\040b rw - tmpfs t rw
23 22 0:23 / /mnt/a\\040b/c rw - tmpfs t rw
24 20 0:24 / /mnt/a rw - tmpfs t rw
"""


def test_only_outermost_mounts_are_passed_on() -> None:
    """Inner ones come along with them; names are unescaped; a common prefix alone is no parent."""
    assert list(top_mounts(MOUNTS)) == ["/proc", "/mnt/a b", "/mnt/a"]


def test_leftover_mounts_innermost_first() -> None:
    """A mount can only go when those inside it are gone."""
    assert mounts_below(MOUNTS, "/mnt") == ["/mnt/a", "/mnt/a b/c", "/mnt/a b"]
    assert mounts_below(MOUNTS, "/mnt/a") == []


def test_folders_to_be_made_anew() -> None:
    """Everything on the way to a mount point, the root included."""
    assert parents(["/etc/x/y", "/run"]) == {"/", "/etc", "/etc/x"}


def test_below_is_a_matter_of_whole_names() -> None:
    """A longer name that starts the same is another folder."""
    assert is_below("/a/b", ["/a"])
    assert is_below("/a", ["/a"])
    assert not is_below("/ab", ["/a"])


@given(
    st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
    st.lists(st.builds(Bind, source=st.text(), target=st.text(), read_only=st.booleans())),
)
def test_a_plan_arrives_as_it_was_sent(argv: list[str], env: dict[str, str], binds: list[Bind]) -> None:
    """Whatever characters commands and variables hold, the plan is one line and comes back equal."""
    plan = Plan(argv=tuple(argv), env=env, log_path="/l", scratch="/s", binds=tuple(binds), uid=7)
    line = plan.encode()
    assert line.count(b"\n") == 1
    assert Plan.decode(line) == plan


def test_the_shim_needs_the_standard_library_only() -> None:
    """It starts without site-packages, and without the asyncio and pathlib that would slow every container's start."""
    scripts = pathlib.Path(__file__).parents[3] / "scripts"
    program = (
        f"import sys; sys.path.insert(0, {str(scripts)!r}); import devcluster.kubelet.shim.supervisor; "
        "print(sorted({'asyncio', 'pathlib', 'aiohttp', 'yaml'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
    assert ran.stdout == "[]\n"


def test_links_are_followed_inside_the_root(tmp_path: pathlib.Path) -> None:
    """`/var/run` leads to the container's `/run`, not to the host's; nothing leads out, and circles end."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "run").symlink_to("/run")
    (tmp_path / "var" / "up").symlink_to("../../../..")
    (tmp_path / "round").symlink_to("round")
    root = str(tmp_path)
    assert inside(root, "/var/run/secrets/x") == f"{root}/run/secrets/x"
    assert inside(root, "/var/up/etc") == f"{root}/etc"
    assert inside(root, "/new/folder") == f"{root}/new/folder"
    with pytest.raises(OSError, match="symbolic links"):
        inside(root, "/round/x")


async def test_a_users_container_runs_as_that_user(tmp_path: pathlib.Path) -> None:
    """A user namespace has no other; a pod that names one runs all the same."""
    plan = Plan(
        argv=("sh", "-c", "test $(id -u) = 0"),
        env={"PATH": os.defpath},
        log_path=f"{tmp_path}/log",
        scratch=f"{tmp_path}/scratch",
        isolation=USER_NAMESPACES,
        uid=65532,
        gid=65532,
    )
    if await detect_isolation(str(tmp_path)) == PROCESS:
        pytest.skip("this machine allows no namespaces")
    container = await start(plan)
    assert await container.wait() == 0
