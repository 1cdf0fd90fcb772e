"""The webhook's settings as people write them: one option each, in docs/settings.md's order."""

from collections.abc import Mapping
from typing import Final

from allocator.api.quantities import Memory
from allocator.config import Option, Options, listed, memory, number, one_of, path, text, whole, yes_no
from allocator.controller import AllocatorSettings, OverQuota, QueueSettings, UnseenSettings
from allocator.core.policies import Policies
from allocator.shared_options import SHARED
from webhook.page.settings import PageSettings
from webhook.settings import AdmissionSettings, Delivery, MutationSettings, ServerSettings, TlsSettings

_PORT: Final = whole(0, 65535)
_DAY: Final = 86400.0
_REGION_LEAST: Final = Memory.mib(3)
"""The interposer's region needs 1.4 MiB, and twice that while it is being made."""

_server, _admission, _mutation, _tls, _page = (
    ServerSettings(),
    AdmissionSettings(),
    MutationSettings(),
    TlsSettings(),
    PageSettings(),
)
_policies = Policies()
_allocator, _queue, _unseen = AllocatorSettings(), QueueSettings(), UnseenSettings()


def _region(value: str) -> Memory:
    found = memory(value)
    if found < _REGION_LEAST:
        raise ValueError(f"write at least {_REGION_LEAST}: the interposer's books need it")
    return found


_LISTENING: Final = (
    Option("host", _server.host, "address for reviews; `::`: all, of IPv4 too", text),
    Option("port", _server.port, "port for reviews; 0: any free one", _PORT),
    Option("metrics-host", _server.metrics_host, "address for Prometheus; likewise", text),
    Option("metrics-port", _server.metrics_port, "port for Prometheus; 0: any free one", _PORT),
    Option("hami-metrics", False, "whether metrics stand under HAMi's names too", yes_no),
    Option("page-port", _page.port, "port of the web page; 0: any free one; none: no page", _PORT),
    Option("page-host", _page.host, "address for the page, which has no login", text),
    Option("page-names", _page.names, "further names by which browsers may call the page", listed),
    Option("drain", _server.drain_seconds, "seconds to go on answering at a stop", number(0, 300, "seconds")),
    Option(
        "deadline",
        _admission.deadline,
        "seconds for one answer; less than the registration's `timeoutSeconds`",
        number(0.1, 29, "seconds"),
    ),
)
_CERTIFICATES: Final = (
    Option("cert", _tls.certificate, "PEM file with the serving certificate; none: one is made", path),
    Option("key", _tls.key, "PEM file with its key", path),
    Option("ca", _tls.ca, "PEM file with its CA", path),
    Option("certificate-secret", _tls.secret, "Secret by which replicas share a self-made certificate", text),
    Option(
        "registrations",
        _tls.registrations,
        "MutatingWebhookConfigurations whose caBundle is kept right then",
        listed,
    ),
    Option("certificates", _tls.folder, "folder for self-made certificates that no Secret holds", path),
    Option(
        "names",
        (),
        "names and addresses in a self-made certificate",
        listed,
        shows="the Service's with a Secret, else loopback's",
    ),
    Option(
        "certificate-days",
        _tls.lifetime_days,
        "life of a self-made certificate, days; it is renewed after two thirds",
        number(10 / _DAY, 3650, "days"),
    ),
    Option(
        "ca-days",
        _tls.ca_lifetime_days,
        "life of its CA, days; at least twice that of the certificate",
        number(20 / _DAY, 36500, "days"),
    ),
    Option(
        "ca-settles",
        _tls.settle_seconds,
        "seconds that API servers may take to learn of a new CA",
        number(0, 86400, "seconds"),
    ),
)
_PODS: Final = (
    Option(
        "own-user",
        None,
        "user name by which the API server knows this process",
        text,
        shows="the service account's",
    ),
    Option("runtime-class", _mutation.runtime_class, "RuntimeClass for GPU pods without one", text),
    Option("gpu-toleration", True, "whether GPU pods tolerate `nvidia.com/gpu:NoSchedule`", yes_no),
    Option(
        "policy",
        _policies.named(None).name,
        "packing policy for pods that name none",
        one_of(*_policies.names()),
    ),
    Option("region-limit", _mutation.region_limit, "memory of one container's usage region", _region),
    Option("interposer-image", _mutation.interposer_image, "the agent's image, for pods under Pod Security", text),
    Option(
        "strict-delivery",
        _mutation.strict_delivery.value,
        "how pods under Pod Security get the interposer",
        one_of(Delivery.INIT.value, Delivery.IMAGE.value),
    ),
)
_QUEUE: Final = (
    Option(
        "over-quota",
        _allocator.over_quota.value,
        "what happens to pods beyond their namespace's GPU quota",
        one_of(*(one.value for one in OverQuota)),
    ),
    Option("preempt", _queue.preempt, "whether pods of lower priority make room for a waiting one", yes_no),
    Option(
        "reserve-after",
        _queue.reserve_after,
        "seconds that a pod waits before room is kept for it",
        number(0, _DAY, "seconds"),
    ),
    Option("reservations", _queue.reservations, "for how many waiting pods room is kept", whole(0, 1000)),
    Option(
        "unseen-grants",
        _unseen.most,
        "grants without a pod that a namespace may have, and one more for each GPU",
        whole(1, 100_000),
    ),
    Option(
        "unseen-share",
        _unseen.share,
        "of all GPUs, what those grants may hold, 0 to 1",
        number(0, 1, "as a share"),
    ),
)


def options(environ: Mapping[str, str]) -> Options:
    """All of them."""
    return Options("webhook", (*SHARED, *_LISTENING, *_CERTIFICATES, *_PODS, *_QUEUE), environ)
