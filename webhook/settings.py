"""Everything about the webhook that can be set. Read once, in `webhook.command`; nothing here changes later."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from allocator.api import names
from allocator.api.names import REGISTRATION
from allocator.api.quantities import Memory
from allocator.listening import EVERYWHERE
from webhook.page.settings import PageSettings

KIB = 1024


class Delivery(StrEnum):
    """How the interposer comes into a pod.

    HOST: mounted from the node's folder, into which the agent installed it.
    IMAGE: mounted from an image (an image volume, Kubernetes 1.33 or newer).
    INIT: copied from an image by an init container.
    """

    HOST = "host"
    IMAGE = "image"
    INIT = "init"


@dataclass(frozen=True, slots=True)
class MutationSettings:
    """What is written into pods.

    Attributes:
        host_dir: folder on every GPU node into which the agent installs the interposer.
        runtime_class: RuntimeClass for GPU pods without one; None: leave it to the node's default runtime.
        tolerate_gpu_taint: whether GPU pods get the toleration `nvidia.com/gpu:NoSchedule`.
        region_limit: memory of one container's usage region, at most; the region of the interposer needs 1.4 MiB,
            and twice that while it is being made.
        interposer_image: the agent's image, from which pods get the interposer where they may not mount the node's
            folder; empty: there is none, and such pods are refused.
        strict_delivery: how, in namespaces under Pod Security that do not say it.
    """

    host_dir: str = names.DEFAULT_HOST_DIR
    runtime_class: str | None = None
    tolerate_gpu_taint: bool = True
    region_limit: Memory = Memory.mib(8)  # noqa: RUF009 - an immutable value
    interposer_image: str = ""
    strict_delivery: Delivery = Delivery.INIT


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """How reviews are answered.

    Attributes:
        deadline: seconds from the request to its answer; less than the `timeoutSeconds` of the registration, so
            that the API server hears a reason and not silence.
        body_limit: bytes of a review, at most. An API server takes objects up to 3 MiB, and an update carries two. Each
            `<` or `&` of them is six characters long in a review, and counts as one. What is longer is not answered,
            and a pod without a GPU request would then pass as it came.
        system_namespace: pods there are never touched: vramshare's own.
        own_users: names by which the allocator is known to the API server; only they may write the answer into a
            queued pod and open its gate. None: not known here, so that whoever writes a whole answer is taken for
            it; then a ValidatingAdmissionPolicy has to keep others from that.
    """

    deadline: float = 1.9
    body_limit: int = 7 * 1024 * KIB
    system_namespace: str = names.DEFAULT_NAMESPACE
    own_users: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Where the serving certificate comes from: given files, or made here and kept in a Secret or in a folder.

    Attributes:
        certificate: PEM file with the certificate and its chain; None: made by ourselves.
        key: PEM file with its private key; given together with `certificate`.
        ca: PEM file with the CA, for those who register the webhook; None: unknown, or ours.
        secret: Secret in vramshare's namespace through which the replicas share self-made ones; None: the folder.
        registrations: MutatingWebhookConfigurations whose caBundle is kept right; only with `secret`.
        folder: where self-made ones are kept that no Secret holds.
        names: DNS names and IP addresses in a self-made certificate.
        lifetime_days: how long a self-made certificate is good; it is renewed after two thirds of that.
        ca_lifetime_days: how long its CA is good; it is replaced when it would not outlive what it signs.
        settle_seconds: how long all registrations must have named a new CA before a certificate of it is served:
            the time that API servers may need to learn of it.
        reload_seconds: how often changed files, or a certificate near its end, are looked for.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    secret: str | None = None
    registrations: tuple[str, ...] = (REGISTRATION,)
    folder: Path = Path("certificates")
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    lifetime_days: float = 365
    ca_lifetime_days: float = 3650
    settle_seconds: float = 60.0
    reload_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The sockets.

    Attributes:
        host: address to listen on for reviews; a pod's own is unknown beforehand.
        port: its port; 0: any free one.
        metrics_host: address to listen on for Prometheus.
        metrics_port: its port; 0: any free one.
        drain_seconds: how long reviews are still taken after `/readyz` says no, for the API server to learn it.
        finish_seconds: how long requests in flight may take at a stop, at most.
        idle_seconds: how long an unused connection is kept. Longer than the 90 s of an API server, so that it is
            the one who closes: a review sent into a connection that we just closed would be lost.
        tls: the certificate.
    """

    host: str = EVERYWHERE
    port: int = 8443
    metrics_host: str = EVERYWHERE
    metrics_port: int = 9443
    drain_seconds: float = 5.0
    finish_seconds: float = 10.0
    idle_seconds: float = 120.0
    tls: TlsSettings = field(default_factory=TlsSettings)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """All of it.

    Attributes:
        admission: how reviews are answered.
        mutation: what is written into pods.
        server: sockets and certificate; an application that is mounted into another's has no use for it.
        page: the web page, off by default.
    """

    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    mutation: MutationSettings = field(default_factory=MutationSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    page: PageSettings = field(default_factory=PageSettings)
