"""Commands in running containers, by the real kubectl."""

import asyncio
import pathlib

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDLE = ("sh", "-c", "echo up; sleep 1000; true")


@pytest.fixture
def running(lab):
    """Starts a pod to be entered."""

    async def start(**spec):
        await lab.pod("p", *IDLE, **spec)
        assert await lab.first_line("p") == "up"

    return start


async def test_output_comes_back_by_stream(lab, running):
    """Standard output and error are separate, the environment is the container's."""
    await running(container={"env": [{"name": "A", "value": "7"}]})
    assert await lab.kubectl("exec", "p", "--", "sh", "-c", "echo out $A") == "out 7\n"
    assert await lab.kubectl("exec", "p", "--", "sh", "-c", "echo err >&2") == "err\n"


async def test_the_command_is_inside(lab, running, isolated):
    """It sees the container's processes and files."""
    await running()
    seen = await lab.kubectl("exec", "p", "--", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; echo; hostname")
    assert seen.splitlines() == ["sh -c echo up; sleep 1000; true ", "p"]


async def test_the_exit_code_is_the_commands(lab, running):
    """Kubectl ends with it and says so."""
    await running()
    assert "command terminated with exit code 3" in await lab.kubectl("exec", "p", "--", "sh", "-c", "exit 3")


async def test_input_arrives_to_its_end(lab, running):
    """A command that reads everything sees the end of what it is sent."""
    await running()
    assert (await lab.kubectl("exec", "-i", "p", "--", "wc", "-c", stdin=b"hello\n" * 20_000)).strip() == "120000"


async def test_files_can_be_copied_in(lab, running, isolated, tmp_path):
    """Which is tar through a command's input."""
    await running()
    write(tmp_path / "file", "content")
    await lab.kubectl("cp", str(tmp_path / "file"), "p:/tmp/copied")
    assert await lab.kubectl("exec", "p", "--", "cat", "/tmp/copied") == "content"


def write(path: pathlib.Path, text: str) -> None:
    """Write a file."""
    path.write_text(text)


async def test_a_command_that_does_not_exist(lab, running):
    """In a container runtime's words."""
    await running()
    said = await lab.kubectl("exec", "p", "--", "no-such-command")
    assert 'exec: "no-such-command": executable file not found in $PATH' in said


async def test_a_container_without_a_command_cannot_be_entered(lab):
    """There is nothing to join, and the message says why."""
    await lab.pod("p")
    await lab.phase("p", "Running")
    said = await lab.kubectl("exec", "p", "--", "true")
    assert 'container "c" has no command, so nothing runs that could be joined' in said


async def test_a_pod_that_is_not_bound_cannot_be_entered(lab):
    """In a real API server's words."""
    await lab.pod("p", "true", nodeSelector={"no": "such"})
    assert "pod p does not have a host assigned" in await lab.kubectl("exec", "p", "--", "true")


async def test_a_command_ends_with_its_client(lab, running):
    """Nothing is left behind when kubectl is interrupted."""
    await running()
    entered = asyncio.ensure_future(lab.kubectl("exec", "p", "--", "sh", "-c", "echo $$ > /tmp/entered; sleep 1000"))
    while (await lab.kubectl("exec", "p", "--", "sh", "-c", "cat /tmp/entered 2>/dev/null || true")).strip() == "":
        pass
    entered.cancel()
    while "gone" not in await lab.kubectl("exec", "p", "--", "sh", "-c", "kill -0 $(cat /tmp/entered) || echo gone"):
        pass
