"""`vramshare webhook`: settings from arguments and environment, then the server until a signal."""

import argparse
import asyncio
import base64
import binascii
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from prometheus_client import CollectorRegistry

from allocator import logs
from allocator.api import names
from allocator.api.quantities import Memory, QuantityError
from allocator.controller import Allocator, AllocatorSettings
from allocator.core.policies import Policies
from webhook.app import create_app
from webhook.certificates import CertificateError, Identity
from webhook.metrics import Metrics, metrics_app
from webhook.server import Addresses, serving
from webhook.settings import AdmissionSettings, MutationSettings, ServerSettings, TlsSettings, WebhookSettings

_log: Final = structlog.get_logger(__name__)
_ENVIRONMENT: Final = "VRAMSHARE_WEBHOOK_"
_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class WebhookCommand:
    """The subcommand."""

    help = "serve the admission webhook with the allocator inside"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say; the environment gives the defaults."""
        add_arguments(parser, os.environ)

    def run(self, args: argparse.Namespace) -> int:
        """Run until SIGTERM or SIGINT."""
        logs.configure(level=args.log_level, log_format=args.log_format)
        policies = Policies(default=args.policy)
        asyncio.run(serve(settings_of(args), allocator_settings_of(args), policies=policies))
        return 0


command: Final = WebhookCommand()


def add_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """The webhook's arguments. Each can also be set by `VRAMSHARE_WEBHOOK_<NAME>`; the command line wins."""

    def add(flag: str, default: object, text: str, **options: Any) -> None:
        variable = _ENVIRONMENT + flag.removeprefix("--").replace("-", "_").upper()
        chosen = environ.get(variable, default)
        if (choices := options.get("choices")) and chosen not in choices:
            parser.error(f"{variable} is {chosen!r}: write one of {', '.join(choices)}")
        parser.add_argument(flag, default=chosen, help=f"{text} [{variable}]", **options)

    server, admission, mutation, tls = ServerSettings(), AdmissionSettings(), MutationSettings(), TlsSettings()
    policies = Policies()
    add("--host", server.host, "address for reviews")
    add("--port", server.port, "port for reviews; 0: any free one", type=int)
    add("--metrics-host", server.metrics_host, "address for Prometheus")
    add("--metrics-port", server.metrics_port, "port for Prometheus; 0: any free one", type=int)
    add("--cert", None, "PEM file with the serving certificate; default: one is made", type=Path)
    add("--key", None, "PEM file with its key", type=Path)
    add("--ca", None, "PEM file with its CA", type=Path)
    add("--certificates", tls.folder, "folder for self-made certificates", type=Path)
    add("--names", ",".join(tls.names), "DNS names and IP addresses in a self-made certificate, comma-separated")
    add("--drain", server.drain_seconds, "seconds to go on answering at a stop", type=float)
    add("--deadline", admission.deadline, "seconds for one answer", type=float)
    add("--own-user", None, "user name by which the API server knows this process; default: the service account's")
    add("--namespace", environ.get("POD_NAMESPACE") or names.DEFAULT_NAMESPACE, "vramshare's namespace")
    add("--host-dir", mutation.host_dir, "folder on GPU nodes; the agents must be told the same")
    add("--runtime-class", mutation.runtime_class, "RuntimeClass for GPU pods without one")
    add("--gpu-toleration", "yes", "whether GPU pods tolerate nvidia.com/gpu:NoSchedule", choices=("yes", "no"))
    add("--policy", policies.named(None).name, "packing policy for pods that name none", choices=policies.names())
    add("--region-limit", mutation.region_limit, "memory of one container's usage region", type=_memory)
    add("--kubeconfig", None, "default: the pod's service account, else KUBECONFIG", type=Path)
    add("--log-level", "info", "quieter lines are dropped", choices=logs.LEVELS)
    add("--log-format", "json", "for machines or for people", choices=logs.FORMATS)


def settings_of(args: argparse.Namespace, *, token: Path = _TOKEN) -> WebhookSettings:
    """The webhook's settings that the command line names.

    Args:
        args: parsed arguments.
        token: the service account's, which tells who we are to the API server.

    Raises:
        CertificateError: a certificate without its key, or the other way round.
    """
    if (args.cert is None) != (args.key is None):
        raise CertificateError("--cert and --key belong together: give both, or neither to have them made")
    own = args.own_user or (None if args.kubeconfig else service_account(token))
    return WebhookSettings(
        admission=AdmissionSettings(
            deadline=args.deadline,
            system_namespace=args.namespace,
            own_users=frozenset({own}) if own else None,
        ),
        mutation=MutationSettings(
            host_dir=args.host_dir.rstrip("/"),
            runtime_class=args.runtime_class or None,
            tolerate_gpu_taint=args.gpu_toleration == "yes",
            region_limit=args.region_limit,
        ),
        server=ServerSettings(
            host=args.host,
            port=args.port,
            metrics_host=args.metrics_host,
            metrics_port=args.metrics_port,
            drain_seconds=args.drain,
            tls=TlsSettings(
                certificate=args.cert,
                key=args.key,
                ca=args.ca,
                folder=args.certificates,
                names=tuple(name.strip() for name in args.names.split(",") if name.strip()),
            ),
        ),
    )


def allocator_settings_of(args: argparse.Namespace) -> AllocatorSettings:
    """The allocator's settings that the command line names."""
    base = AllocatorSettings()
    return replace(
        base,
        kube=replace(base.kube, kubeconfig=args.kubeconfig, user_agent="vramshare-webhook"),
        namespace=args.namespace,
        runtime_class=args.runtime_class or "",
        tolerations=base.tolerations if args.gpu_toleration == "yes" else (),
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
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def certified(served: Identity) -> None:
        metrics.certificate_end.set(served.ends.timestamp())

    allocator = Allocator(allocator_settings, policies=policies, registry=registry)
    app = create_app(settings, allocator, metrics=metrics)
    async with (
        AsyncExitStack() as entered,  # left after the server, which needs the allocator to its last request
        serving(app, metrics_app(registry), settings.server, certified=certified) as at,
    ):
        listening(at)
        entering = asyncio.create_task(entered.enter_async_context(allocator))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({entering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if entering.done():
            entering.result()
            await stopping
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _memory(text: str) -> Memory:
    try:
        return Memory.parse(text)
    except QuantityError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None
