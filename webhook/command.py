"""`vramshare webhook`: settings from arguments and environment, then the server until a signal."""

import argparse
import asyncio
import base64
import binascii
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import orjson
import structlog

from allocator import logs
from allocator.api import names
from allocator.config import SettingError, resolved
from allocator.controller import Allocator, AllocatorSettings, Client, OverQuota, SystemClock, Vault
from allocator.core.policies import Policies
from allocator.exposition import new_registry
from allocator.reload import alongside
from webhook.app import create_app
from webhook.keeper import Keeper
from webhook.metrics import Metrics, metrics_app
from webhook.options import options
from webhook.page.server import serving_page
from webhook.page.settings import PageSettings
from webhook.server import Addresses, serving
from webhook.settings import (
    AdmissionSettings,
    Delivery,
    MutationSettings,
    ServerSettings,
    TlsSettings,
    WebhookSettings,
)
from webhook.tls import CertificateSource, Files, Served

T = TypeVar("T")
_log: Final = structlog.get_logger(__name__)
_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class WebhookCommand:
    """The subcommand."""

    help = "serve the admission webhook with the allocator inside"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say; the environment gives the defaults."""
        add_arguments(parser, os.environ)

    def run(self, args: argparse.Namespace) -> int:
        """Run until SIGTERM or SIGINT."""
        chosen = resolved(args)
        logs.configure(level=chosen.log_level, log_format=chosen.log_format)
        policies = Policies(default=chosen.policy)
        work = serve(settings_of(chosen), allocator_settings_of(chosen), policies=policies)
        asyncio.run(alongside(work, args))
        return 0


command: Final = WebhookCommand()


def add_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """The webhook's arguments; what the environment and a file say counts where the command line is silent."""
    options(environ).declare(parser)


def settings_of(args: argparse.Namespace, *, token: Path = _TOKEN) -> WebhookSettings:
    """The webhook's settings.

    Args:
        args: parsed arguments.
        token: the service account's, which tells who we are to the API server.

    Raises:
        SettingError: a value that cannot be, alone or beside another.
    """
    args = resolved(args)
    own = args.own_user or (None if args.kubeconfig else service_account(token))
    return WebhookSettings(
        admission=AdmissionSettings(
            deadline=args.deadline,
            system_namespace=args.namespace,
            own_users=frozenset({own}) if own else None,
        ),
        mutation=MutationSettings(
            host_dir=args.host_dir,
            runtime_class=args.runtime_class or None,
            tolerate_gpu_taint=args.gpu_toleration,
            region_limit=args.region_limit,
            interposer_image=args.interposer_image,
            strict_delivery=Delivery(args.strict_delivery),
        ),
        server=ServerSettings(
            host=args.host,
            port=args.port,
            metrics_host=args.metrics_host,
            metrics_port=args.metrics_port,
            drain_seconds=args.drain,
            tls=_tls_settings(args),
        ),
        page=PageSettings(port=args.page_port, host=args.page_host, names=args.page_names),
    )


def _tls_settings(args: argparse.Namespace) -> TlsSettings:
    if (args.cert is None) != (args.key is None):
        missing = "--key" if args.key is None else "--cert"
        raise SettingError(missing, "", "--cert and --key belong together: give both, or neither to have them made")
    if args.ca_days < 2 * args.certificate_days:
        least = f"write at least {2 * args.certificate_days:g}, twice --certificate-days"
        raise SettingError("--ca-days", f"{args.ca_days:g}", least)
    return TlsSettings(
        certificate=args.cert,
        key=args.key,
        ca=args.ca,
        secret=args.certificate_secret or None,
        registrations=args.registrations,
        folder=args.certificates,
        names=args.names or _own_names(args),
        lifetime_days=args.certificate_days,
        ca_lifetime_days=args.ca_days,
        settle_seconds=args.ca_settles,
    )


def allocator_settings_of(args: argparse.Namespace) -> AllocatorSettings:
    """The allocator's settings."""
    args, base = resolved(args), AllocatorSettings()
    return replace(
        base,
        kube=replace(base.kube, kubeconfig=args.kubeconfig, user_agent="vramshare-webhook"),
        namespace=args.namespace,
        runtime_class=args.runtime_class or "",
        hami_metrics=args.hami_metrics,
        over_quota=OverQuota(args.over_quota),
        queue=replace(
            base.queue, preempt=args.preempt, reserve_after=args.reserve_after, reservations=args.reservations
        ),
        unseen=replace(base.unseen, most=args.unseen_grants, share=args.unseen_share, opted_in=True),
        tolerations=base.tolerations if args.gpu_toleration else (),
    )


def service_account(token: Path) -> str | None:
    """The user name in a service account's token; None where there is none.

    Its signature is not looked at: we ask who we are, not whether to believe somebody.
    """
    try:
        payload = token.read_text().split(".")[1]
        subject = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("sub")
    except (OSError, IndexError, AttributeError, binascii.Error, ValueError):
        return None
    return subject if isinstance(subject, str) else None


async def serve(
    settings: WebhookSettings,
    allocator_settings: AllocatorSettings,
    stop: asyncio.Event | None = None,
    *,
    policies: Policies | None = None,
    listening: Callable[[Addresses], None] = lambda _: None,
) -> None:
    """Serve until `stop` is set, or a signal comes.

    The sockets open first: until the allocator has seen the cluster, `/readyz` says no and GPU pods are refused.

    Args:
        settings: the webhook's.
        allocator_settings: the allocator's.
        stop: ends it; None: SIGTERM or SIGINT do.
        policies: how to pack; None: all of ours, with their default.
        listening: told where, once the sockets are open.
    """
    stop = stop or _on_signals()
    if settings.admission.own_users is None:
        _log.warning("own_user_unknown", remedy="set --own-user, or keep users from vramshare's annotations by policy")
    registry = new_registry("webhook")
    metrics = Metrics(registry)

    def certified(served: Served) -> None:
        metrics.certificate_end.set(served.ends.timestamp())

    allocator = Allocator(allocator_settings, policies=policies, registry=registry)
    app = create_app(settings, allocator, metrics=metrics)
    async with (
        certificate_source(settings, allocator_settings) as certificates,
        AsyncExitStack() as entered,  # left after the server, which needs the allocator to its last request
        AsyncExitStack() as opened,
    ):
        server = serving(
            app,
            metrics_app(registry, prepare=allocator.metrics.prepare),
            settings.server,
            certificates=certificates,
            certified=certified,
        )
        at = await _unless(stop, opened.enter_async_context(server))
        if at is not None:
            page = await opened.enter_async_context(serving_page(allocator, settings.page))
            listening(replace(at, page_port=page))
            await _unless(stop, entered.enter_async_context(allocator))
            await stop.wait()


@asynccontextmanager
async def certificate_source(
    settings: WebhookSettings, allocator_settings: AllocatorSettings
) -> AsyncIterator[CertificateSource]:
    """Where the settings say that certificates come from: given files, a shared Secret, or a folder."""
    tls = settings.server.tls
    if tls.certificate is not None or tls.secret is None:
        yield Files(tls)
        return
    clock = SystemClock()
    async with Client(replace(allocator_settings.kube, connections=4)) as client:
        vault = Vault(
            client,
            namespace=allocator_settings.namespace,
            secret=tls.secret,
            registrations=tls.registrations,
            clock=clock,
            random=Random(),  # noqa: S311 - jitter is no secret
        )
        async with vault.watching():
            yield Keeper(vault, tls, clock=clock)


async def _unless(stop: asyncio.Event, doing: Coroutine[Any, Any, T]) -> T | None:
    """The outcome of something that may take long; None if `stop` comes first, and then it is given up."""
    task, stopping = asyncio.create_task(doing), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _own_names(args: argparse.Namespace) -> tuple[str, ...]:
    """By which names an API server reaches us: our Service's, where replicas share a certificate."""
    return (f"{names.WEBHOOK_SERVICE}.{args.namespace}.svc",) if args.certificate_secret else TlsSettings().names
