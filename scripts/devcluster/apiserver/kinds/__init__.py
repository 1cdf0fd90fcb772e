"""The kinds with rules of their own, registered here."""

from devcluster.apiserver.kinds import core, pod_defaults, pod_update, pod_validation, pods, registration, workloads
from devcluster.apiserver.strategy import Strategy, register, strategy_of

__all__ = ["strategy_of"]

_ADMISSION = "admissionregistration.k8s.io/"
_RBAC = "rbac.authorization.k8s.io/"


def _register_core() -> None:
    register(
        "/pods",
        Strategy(
            default=pod_defaults.default_pod,
            prepare_create=pods.prepare_create,
            prepare_update=pods.prepare_update,
            validate=pod_validation.validate_pod,
            validate_update=pod_update.validate_update,
        ),
    )
    register(
        "/namespaces",
        Strategy(
            default=core.default_namespace,
            prepare_create=core.prepare_namespace,
            prepare_update=core.update_namespace,
            names="label",
        ),
    )
    register("/nodes", Strategy(prepare_create=core.prepare_node))
    register("/configmaps", Strategy(validate=core.validate_config_map, validate_update=core.validate_immutable))
    register(
        "/secrets",
        Strategy(default=core.default_secret, validate=core.validate_secret, validate_update=core.validate_immutable),
    )
    register(
        "/services",
        Strategy(
            default=core.default_service,
            prepare_create=core.prepare_service,
            prepare_update=core.update_service,
            validate=core.validate_service,
            names="service",
        ),
    )
    register("/endpoints", Strategy(default=core.default_endpoints))
    register("/persistentvolumeclaims", Strategy(default=core.default_claim, prepare_create=core.prepare_pending))
    register("/persistentvolumes", Strategy(default=core.default_claim, prepare_create=core.prepare_pending))
    register("/limitranges", Strategy(default=core.default_limit_range))
    register("/resourcequotas", Strategy(prepare_create=core.prepare_quota))
    register("events", Strategy(validate=core.validate_event))


def _register_workloads() -> None:
    for storage, default, prepare in (
        ("apps/deployments", workloads.default_deployment, workloads.prepare_workload),
        ("apps/replicasets", workloads.default_replica_set, workloads.prepare_replicated),
        ("apps/daemonsets", workloads.default_daemon_set, workloads.prepare_daemon_set),
        ("apps/statefulsets", workloads.default_stateful_set, workloads.prepare_replicated),
    ):
        register(
            storage,
            Strategy(
                default=default,
                prepare_create=prepare,
                validate=workloads.validate_workload,
                validate_update=workloads.validate_selector_kept,
            ),
        )
    register(
        "/replicationcontrollers",
        Strategy(
            default=workloads.default_replication_controller,
            prepare_create=workloads.prepare_replicated,
            validate=workloads.validate_workload,
        ),
    )
    register("batch/jobs", Strategy(default=workloads.default_job, prepare_create=workloads.prepare_job))


def _register_others() -> None:
    hooks = Strategy(default=registration.default_webhooks, validate=registration.validate_webhooks)
    register(_ADMISSION + "mutatingwebhookconfigurations", hooks)
    register(_ADMISSION + "validatingwebhookconfigurations", hooks)
    register(
        _ADMISSION + "validatingadmissionpolicies",
        Strategy(default=registration.default_policy, validate=registration.validate_policy),
    )
    register(
        _ADMISSION + "validatingadmissionpolicybindings",
        Strategy(default=registration.default_policy_binding, validate=registration.validate_policy_binding),
    )
    bindings = Strategy(
        default=registration.default_role_binding,
        validate=registration.validate_role_binding,
        validate_update=registration.validate_role_kept,
        names="path",
    )
    for name in ("rolebindings", "clusterrolebindings"):
        register(_RBAC + name, bindings)
    for name in ("roles", "clusterroles"):
        register(_RBAC + name, Strategy(names="path"))
    register(
        "scheduling.k8s.io/priorityclasses",
        Strategy(default=registration.default_priority_class, validate_update=registration.validate_value_kept),
    )
    register("node.k8s.io/runtimeclasses", Strategy(validate=registration.validate_runtime_class))
    register("storage.k8s.io/storageclasses", Strategy(default=registration.default_storage_class))


_register_core()
_register_workloads()
_register_others()
