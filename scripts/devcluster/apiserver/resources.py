"""What the server serves: one row per resource, the single source for routing, discovery and OpenAPI."""

from dataclasses import dataclass, field

_ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_NO_COLLECTION = tuple(verb for verb in _ALL if verb != "deletecollection")
_READ_WRITE = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object. Its group, version and kind are the parent's unless given."""

    name: str
    verbs: tuple[str, ...] = _READ_WRITE
    group: str | None = None
    version: str | None = None
    kind: str | None = None
    definition: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource. `storage` names the collection, shared by two views of events."""

    group: str
    version: str
    plural: str
    kind: str
    definition: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL
    subresources: tuple[Subresource, ...] = ()
    singular: str = ""
    storage: str = ""
    # Objects of this kind count changes of their spec in metadata.generation.
    generations: bool = False
    # An update may leave metadata.resourceVersion out.
    unconditional: bool = True
    # PUT creates what is missing.
    put_creates: bool = False
    by_name: dict[str, Subresource] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "singular", self.singular or self.kind.lower())
        object.__setattr__(self, "storage", self.storage or f"{self.group}/{self.plural}")
        self.by_name.update({sub.name: sub for sub in self.subresources})

    @property
    def group_version(self) -> str:
        """`v1`, `apps/v1`: the apiVersion of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def stored(self) -> bool:
        """Does the server keep objects of it (false for reviews)?"""
        return "get" in self.verbs


_CORE = "io.k8s.api.core.v1."
_STATUS = Subresource("status")
_SCALE = Subresource(
    "scale", group="autoscaling", version="v1", kind="Scale", definition="io.k8s.api.autoscaling.v1.Scale"
)
_CREATE = ("create",)

_POD_SUBRESOURCES = (
    Subresource("binding", _CREATE, kind="Binding", definition=_CORE + "Binding"),
    Subresource("ephemeralcontainers"),
    Subresource(
        "eviction", _CREATE, group="policy", version="v1", kind="Eviction", definition="io.k8s.api.policy.v1.Eviction"
    ),
    Subresource("exec", ("create", "get"), kind="PodExecOptions", definition=_CORE + "Pod"),
    Subresource("log", ("get",)),
    Subresource("resize"),
    _STATUS,
)
_TOKEN = Subresource(
    "token",
    _CREATE,
    group="authentication.k8s.io",
    version="v1",
    kind="TokenRequest",
    definition="io.k8s.api.authentication.v1.TokenRequest",
)


def _core(plural: str, kind: str, *short: str, **rest: object) -> Resource:
    return Resource("", "v1", plural, kind, _CORE + kind, short=short, **rest)  # type: ignore[arg-type]


def _of(group: str, package: str, plural: str, kind: str, *short: str, **rest: object) -> Resource:
    return Resource(group, "v1", plural, kind, f"io.k8s.api.{package}.v1.{kind}", short=short, **rest)  # type: ignore[arg-type]


def _workload(plural: str, kind: str, short: str, *, scale: bool = True) -> Resource:
    subresources = (_SCALE, _STATUS) if scale else (_STATUS,)
    return _of("apps", "apps", plural, kind, short, subresources=subresources, categories=("all",), generations=True)


def _cluster(group: str, package: str, plural: str, kind: str, *short: str, **rest: object) -> Resource:
    return _of(group, package, plural, kind, *short, namespaced=False, **rest)


def _core_resources() -> tuple[Resource, ...]:
    finalize = Subresource("finalize", ("update",))
    every = {"categories": ("all",)}
    scale_status = {"subresources": (_SCALE, _STATUS), "categories": ("all",), "generations": True}
    return (
        Resource("", "v1", "bindings", "Binding", _CORE + "Binding", verbs=_CREATE),
        _core("configmaps", "ConfigMap", "cm"),
        _core("endpoints", "Endpoints", "ep", singular="endpoints", put_creates=True),
        _core("events", "Event", "ev", storage="events", put_creates=True),
        _core("limitranges", "LimitRange", "limits"),
        _core(
            "namespaces", "Namespace", "ns", namespaced=False, verbs=_NO_COLLECTION, subresources=(finalize, _STATUS)
        ),
        _core("nodes", "Node", "no", namespaced=False, subresources=(_STATUS,)),
        _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", subresources=(_STATUS,)),
        _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, subresources=(_STATUS,)),
        _core("pods", "Pod", "po", subresources=_POD_SUBRESOURCES, generations=True, **every),
        _core("podtemplates", "PodTemplate"),
        _core("replicationcontrollers", "ReplicationController", "rc", **scale_status),
        _core("resourcequotas", "ResourceQuota", "quota", subresources=(_STATUS,)),
        _core("secrets", "Secret"),
        _core("serviceaccounts", "ServiceAccount", "sa", subresources=(_TOKEN,)),
        _core("services", "Service", "svc", subresources=(_STATUS,), put_creates=True, **every),
    )


def _group_resources() -> tuple[Resource, ...]:
    admission = "admissionregistration.k8s.io"
    rbac = "rbac.authorization.k8s.io"
    authn, authz = "authentication.k8s.io", "authorization.k8s.io"
    return (
        _of("apps", "apps", "controllerrevisions", "ControllerRevision"),
        _workload("daemonsets", "DaemonSet", "ds", scale=False),
        _workload("deployments", "Deployment", "deploy"),
        _workload("replicasets", "ReplicaSet", "rs"),
        _workload("statefulsets", "StatefulSet", "sts"),
        _of("events.k8s.io", "events", "events", "Event", "ev", storage="events", put_creates=True),
        _cluster(authn, "authentication", "selfsubjectreviews", "SelfSubjectReview", verbs=_CREATE),
        _cluster(authn, "authentication", "tokenreviews", "TokenReview", verbs=_CREATE),
        _cluster(authz, "authorization", "selfsubjectaccessreviews", "SelfSubjectAccessReview", verbs=_CREATE),
        _cluster(authz, "authorization", "subjectaccessreviews", "SubjectAccessReview", verbs=_CREATE),
        _of("batch", "batch", "jobs", "Job", subresources=(_STATUS,), categories=("all",), generations=True),
        _of("networking.k8s.io", "networking", "networkpolicies", "NetworkPolicy", "netpol", generations=True),
        _of("policy", "policy", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", subresources=(_STATUS,),
            generations=True),
        _of(rbac, "rbac", "rolebindings", "RoleBinding"),
        _of(rbac, "rbac", "roles", "Role"),
        _cluster(rbac, "rbac", "clusterrolebindings", "ClusterRoleBinding"),
        _cluster(rbac, "rbac", "clusterroles", "ClusterRole"),
        _cluster("storage.k8s.io", "storage", "storageclasses", "StorageClass", "sc"),
        _cluster(admission, "admissionregistration", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration",
                 generations=True),
        _cluster(admission, "admissionregistration", "validatingwebhookconfigurations",
                 "ValidatingWebhookConfiguration", generations=True),
        _cluster(admission, "admissionregistration", "validatingadmissionpolicies", "ValidatingAdmissionPolicy",
                 subresources=(_STATUS,), generations=True),
        _cluster(admission, "admissionregistration", "validatingadmissionpolicybindings",
                 "ValidatingAdmissionPolicyBinding"),
        _cluster("scheduling.k8s.io", "scheduling", "priorityclasses", "PriorityClass", "pc", generations=True),
        _of("coordination.k8s.io", "coordination", "leases", "Lease", unconditional=False, put_creates=True),
        _cluster("node.k8s.io", "node", "runtimeclasses", "RuntimeClass"),
    )  # fmt: skip


RESOURCES: tuple[Resource, ...] = _core_resources() + _group_resources()
BY_PATH: dict[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in RESOURCES}
GROUP_VERSIONS: frozenset[tuple[str, str]] = frozenset((r.group, r.version) for r in RESOURCES) | {
    ("autoscaling", "v1")
}
