"""The API resources that vramshare touches, and their paths.

Paths are built here alone. Names go in percent-encoded, so that an odd name can never address something else.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

JsonObject = dict[str, Any]
"""A Kubernetes object or Status as decoded JSON."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object.

    Attributes:
        kind: as it stands in an object, `ConfigMap`.
        plural: as it stands in a path, `configmaps`.
        version: of its group, `v1`.
        group: empty for the core group.
        namespaced: whether its objects live in namespaces.
    """

    kind: str
    plural: str
    version: str = "v1"
    group: str = ""
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What an object of this kind carries as `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str = "", name: str = "") -> str:
        """Path of one object, or of the collection (of all namespaces where none is given)."""
        parts = ["/apis", self.group] if self.group else ["/api"]
        parts.append(self.version)
        if namespace and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        return "/".join(parts)


PODS: Final = Resource(kind="Pod", plural="pods")
NODES: Final = Resource(kind="Node", plural="nodes", namespaced=False)
NAMESPACES: Final = Resource(kind="Namespace", plural="namespaces", namespaced=False)
RESOURCE_QUOTAS: Final = Resource(kind="ResourceQuota", plural="resourcequotas")
CONFIGMAPS: Final = Resource(kind="ConfigMap", plural="configmaps")
SECRETS: Final = Resource(kind="Secret", plural="secrets")
EVENTS: Final = Resource(kind="Event", plural="events")
LEASES: Final = Resource(kind="Lease", plural="leases", group="coordination.k8s.io")
RUNTIME_CLASSES: Final = Resource(kind="RuntimeClass", plural="runtimeclasses", group="node.k8s.io", namespaced=False)
MUTATING_WEBHOOKS: Final = Resource(
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    group="admissionregistration.k8s.io",
    namespaced=False,
)
VALIDATING_WEBHOOKS: Final = Resource(
    kind="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    group="admissionregistration.k8s.io",
    namespaced=False,
)
POLICIES: Final = Resource(
    kind="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    group="admissionregistration.k8s.io",
    namespaced=False,
)
POLICY_BINDINGS: Final = Resource(
    kind="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    group="admissionregistration.k8s.io",
    namespaced=False,
)
DEPLOYMENTS: Final = Resource(kind="Deployment", plural="deployments", group="apps")
DAEMONSETS: Final = Resource(kind="DaemonSet", plural="daemonsets", group="apps")
