"""`vramshare webhook`: arguments and environment to settings, and the process from start to stop."""

import argparse
import asyncio
import base64
from pathlib import Path
from typing import Self

import aiohttp
import orjson
import pytest

from allocator.api.errors import VramshareError
from allocator.api.quantities import Memory
from allocator.config import SettingError
from allocator.controller import OverQuota
from allocator.controller.metrics import Metrics
from webhook import command as module
from webhook.command import add_arguments, allocator_settings_of, serve, service_account, settings_of
from webhook.server import Addresses


def parsed(*argv: str, **environ: str) -> argparse.Namespace:
    """Arguments out of this command line and environment."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, environ)
    return parser.parse_args(argv)


def test_defaults() -> None:
    """With nothing said: the usual ports, certificates of our own, GPU taint tolerated."""
    settings = settings_of(parsed(), token=Path("/nowhere"))
    assert (settings.server.port, settings.server.metrics_port) == (8443, 9443)
    assert settings.server.tls.certificate is None
    assert settings.admission.own_users is None
    assert settings.mutation.tolerate_gpu_taint
    assert settings.mutation.runtime_class is None


def test_environment_sets_what_the_command_line_does_not() -> None:
    """Each argument has its variable; the command line wins."""
    environ = {"VRAMSHARE_WEBHOOK_PORT": "1", "VRAMSHARE_WEBHOOK_RUNTIME_CLASS": "nvidia", "POD_NAMESPACE": "gpu"}
    settings = settings_of(parsed("--port", "2", "--host-dir", "/srv/v/", **environ))
    assert settings.server.port == 2
    assert settings.mutation.runtime_class == "nvidia"
    assert settings.mutation.host_dir == "/srv/v"
    assert settings.admission.system_namespace == "gpu"


def test_the_page_is_off_unless_it_has_a_port() -> None:
    """And then on loopback, where port-forwarding reaches it."""
    assert settings_of(parsed()).page.port is None
    page = settings_of(parsed("--page-port", "0", VRAMSHARE_WEBHOOK_PAGE_NAMES="a.example, b.example")).page
    assert (page.port, page.host, page.names) == (0, "127.0.0.1", ("a.example", "b.example"))


def test_region_limit_is_a_quantity() -> None:
    """Sizes are written as everywhere else."""
    assert settings_of(parsed("--region-limit", "4Mi")).mutation.region_limit == Memory.mib(4)


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (("--region-limit", "4Mb"), {}, "write Mi"),
        (("--policy", "tetris"), {}, "--policy is 'tetris': write one of best-fit"),
        (("--port", "70000"), {}, "write a whole number from 0 to 65535"),
        (("--ca-days", "500"), {}, "--ca-days is '500': write at least 730"),
        ((), {"VRAMSHARE_WEBHOOK_POLICY": "tetris"}, "write one of best-fit, fgd, foresight, pack, spread"),
        ((), {"VRAMSHARE_WEBHOOK_LOG_LEVEL": "loud"}, "VRAMSHARE_WEBHOOK_LOG_LEVEL is 'loud': write one of debug"),
    ],
)
def test_wrong_value_is_refused_with_a_remedy(argv: tuple[str, ...], environ: dict[str, str], message: str) -> None:
    """On the command line and in the environment alike."""
    with pytest.raises(SettingError) as refused:
        settings_of(parsed(*argv, **environ))
    assert message in str(refused.value)


def test_certificate_without_key_is_refused() -> None:
    """Half a pair would be found out at the first handshake."""
    with pytest.raises(SettingError, match="--cert and --key belong together"):
        settings_of(parsed("--cert", "a"))


def test_allocator_plans_with_what_the_webhook_adds() -> None:
    """Runtime class and toleration are told to both."""
    args = parsed("--runtime-class", "nvidia", "--gpu-toleration", "no", "--kubeconfig", "/k", "--namespace", "n")
    settings = allocator_settings_of(args)
    assert (settings.runtime_class, settings.tolerations, settings.namespace) == ("nvidia", (), "n")
    assert settings.kube.kubeconfig == Path("/k")


def token(tmp_path: Path, content: bytes) -> Path:
    """A service account's token with this payload."""
    path = tmp_path / "token"
    path.write_bytes(b"e30." + base64.urlsafe_b64encode(content).rstrip(b"=") + b".c2ln")
    return path


def test_the_queue_is_set_up_as_asked() -> None:
    """Quotas, preemption, reservations and the limits of what was never seen; by default nobody is evicted."""
    assert not allocator_settings_of(parsed()).queue.preempt
    found = allocator_settings_of(
        parsed("--over-quota", "deny", "--preempt", "yes", "--reserve-after", "300", "--unseen-grants", "8")
    )
    assert (found.over_quota, found.queue.preempt, found.queue.reserve_after) == (OverQuota.DENY, True, 300)
    assert (found.unseen.most, found.unseen.share) == (8, 0.25)


def test_own_name_is_read_from_the_service_accounts_token(tmp_path: Path) -> None:
    """In a pod nobody has to say who we are."""
    name = "system:serviceaccount:vramshare-system:vramshare-webhook"
    path = token(tmp_path, orjson.dumps({"sub": name}))
    assert settings_of(parsed(), token=path).admission.own_users == {name}
    assert settings_of(parsed("--own-user", "me"), token=path).admission.own_users == {"me"}
    assert settings_of(parsed("--kubeconfig", "/k"), token=path).admission.own_users is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"sub": 1}', b"\xff"])
def test_odd_token_says_nothing(tmp_path: Path, content: bytes) -> None:
    """A token of another form is no reason not to start."""
    assert service_account(token(tmp_path, content)) is None
    (tmp_path / "token").write_text("opaque")
    assert service_account(tmp_path / "token") is None


class NeverReady:
    """An allocator that never gets to see its cluster."""

    ready = False
    left = False
    fleet = None
    metrics = Metrics()

    def __init__(self, *_: object, **__: object) -> None:
        """Take any settings."""

    async def __aenter__(self) -> Self:
        """Wait for ever."""
        await asyncio.Event().wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Never called: it was never entered."""
        type(self).left = True


async def test_stop_while_the_cluster_is_not_seen_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Health is answered from the first moment on, and a signal ends even a start that hangs."""
    monkeypatch.setattr(module, "Allocator", NeverReady)
    args = parsed(
        *("--host", "127.0.0.1", "--port", "0", "--metrics-host", "127.0.0.1", "--metrics-port", "0"),
        *("--certificates", str(tmp_path), "--drain", "0", "--kubeconfig", "/none"),
    )
    stop = asyncio.Event()
    listening: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        serve(settings_of(args), allocator_settings_of(args), stop, listening=listening.set_result)
    )
    url = f"https://127.0.0.1:{(await listening).port}"
    async with aiohttp.ClientSession() as session:
        assert (await session.get(f"{url}/healthz", ssl=False)).status == 200
        assert (await session.get(f"{url}/readyz", ssl=False)).status == 503
    stop.set()
    await running
    assert not NeverReady.left


async def test_the_page_is_served_beside_the_reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its own port, from the first moment on; what has not been seen yet is not passed off as empty."""
    monkeypatch.setattr(module, "Allocator", NeverReady)
    args = parsed(
        *("--host", "127.0.0.1", "--port", "0", "--metrics-host", "127.0.0.1", "--metrics-port", "0"),
        *("--certificates", str(tmp_path), "--drain", "0", "--kubeconfig", "/none", "--page-port", "0"),
    )
    stop = asyncio.Event()
    listening: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        serve(settings_of(args), allocator_settings_of(args), stop, listening=listening.set_result)
    )
    url = f"http://127.0.0.1:{(await listening).page_port}"
    async with aiohttp.ClientSession() as session:
        assert "<title>vramshare" in await (await session.get(url)).text()
        board = await (await session.get(f"{url}/board")).json()
        assert (board["ready"], board["nodes"]) == (False, {})
        assert (await session.post(f"{url}/mutate")).status == 404
    stop.set()
    await running


async def test_unreachable_cluster_ends_the_start(tmp_path: Path) -> None:
    """A kubeconfig that is not there is said at once."""
    args = parsed(
        *("--host", "127.0.0.1", "--port", "0", "--metrics-host", "127.0.0.1", "--metrics-port", "0"),
        *("--certificates", str(tmp_path), "--drain", "0", "--kubeconfig", str(tmp_path / "none")),
    )
    with pytest.raises(VramshareError, match="no way to the API server"):
        await serve(settings_of(args), allocator_settings_of(args), asyncio.Event())
