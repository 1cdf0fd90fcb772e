"""NamespaceLifecycle: nothing is created in a namespace that does not exist or is going."""

from devcluster.apiserver import status
from devcluster.apiserver.machine import Attributes, Machine


def shown_name(attributes: Attributes) -> str:
    """How refusals name an object that may not have its name yet."""
    meta = (attributes.obj or {}).get("metadata") or {}
    return attributes.name or meta.get("name") or meta.get("generateName") or ""


def refusal(attributes: Attributes, why: str) -> status.ApiError:
    """403 about the object at hand."""
    resource = attributes.resource
    return status.forbidden(resource.group, resource.plural, shown_name(attributes), why=why)


def check(attributes: Attributes, machine: Machine) -> None:
    """Refuse writes into missing namespaces, and creations in dying ones.

    Raises:
        ApiError: 404 or 403.
    """
    if not attributes.resource.namespaced or attributes.operation != "CREATE":
        return
    namespace = machine.store.collection("/namespaces").get("", attributes.namespace)
    if namespace is None:
        raise status.not_found("", "namespaces", attributes.namespace)
    if attributes.sub or "deletionTimestamp" not in namespace.obj["metadata"]:
        return
    dying = attributes.namespace
    error = refusal(attributes, f"unable to create new content in namespace {dying} because it is being terminated")
    details = dict(error.details or {})
    details["causes"] = [
        {
            "reason": "NamespaceTerminating",
            "message": f"namespace {dying} is being terminated",
            "field": "metadata.namespace",
        }
    ]
    raise status.ApiError(error.code, error.reason, error.message, details=details)
