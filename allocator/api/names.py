"""Every name that vramshare writes into, or reads from, a Kubernetes object or a file system.

One definition each. A name that depends on a container is built by a function here, never by hand.
"""

import hashlib
from typing import Final

DOMAIN: Final = "vramshare.io"

# --- Opting in and out ------------------------------------------------------------------------------------
INJECT_LABEL: Final = f"{DOMAIN}/inject"
"""On a namespace, `enabled` opts in; on a pod, `disabled` opts out."""
INJECT_ENABLED: Final = "enabled"
INJECT_DISABLED: Final = "disabled"

DELIVERY: Final = f"{DOMAIN}/delivery"
"""Annotation of a namespace: how the interposer comes into its pods."""
POD_SECURITY_LABEL: Final = "pod-security.kubernetes.io/enforce"
"""Kubernetes' label of a namespace: which Pod Security level its pods must meet."""

# --- What a user asks for (pod annotations) ---------------------------------------------------------------
MEMORY: Final = f"{DOMAIN}/memory"
CORES: Final = f"{DOMAIN}/cores"
CORES_POLICY: Final = f"{DOMAIN}/cores-policy"
GPUS: Final = f"{DOMAIN}/gpus"
MODELS: Final = f"{DOMAIN}/models"
UUIDS: Final = f"{DOMAIN}/uuids"
POLICY: Final = f"{DOMAIN}/policy"
CONTAINERS: Final = f"{DOMAIN}/containers"
WHEN_FULL: Final = f"{DOMAIN}/when-full"
GROUP: Final = f"{DOMAIN}/group"
GROUP_SIZE: Final = f"{DOMAIN}/group-size"

MEMORY_PREFIX: Final = f"memory.{DOMAIN}/"
CORES_PREFIX: Final = f"cores.{DOMAIN}/"
CORES_POLICY_PREFIX: Final = f"cores-policy.{DOMAIN}/"
GPUS_PREFIX: Final = f"gpus.{DOMAIN}/"

# --- What vramshare answers (pod annotations, written by vramshare only) -----------------------------------
STATUS: Final = f"{DOMAIN}/status"
STATUS_ALLOCATED: Final = "allocated"
STATUS_QUEUED: Final = "queued"
ALLOCATION_ID: Final = f"{DOMAIN}/allocation-id"
NODE: Final = f"{DOMAIN}/node"
DEVICES: Final = f"{DOMAIN}/devices"
REASON: Final = f"{DOMAIN}/reason"
"""Why a queued pod waits, in one sentence."""
RESIZE: Final = f"{DOMAIN}/resize"
"""On a granted pod whose request was edited: that the difference is wanted, or why it waits. No result: whoever may
edit the request may write it, and it does no more than to have the request looked at."""
RESIZE_WANTED: Final = "wanted"
RESERVED: Final = f"{DOMAIN}/reserved"
"""The node and the GPUs that are kept free for a queued pod that has waited long."""
LIBRARY: Final = f"{DOMAIN}/library"
"""Where the interposer is in the containers of a pod that brings it along. Absent: it is the node's own."""
ALLOCATION_PREFIX: Final = f"allocation.{DOMAIN}/"
VISIBLE_DEVICES_PREFIX: Final = f"visible-devices.{DOMAIN}/"
PRELOAD_PREFIX: Final = f"preload.{DOMAIN}/"

RESULT_ANNOTATIONS: Final = frozenset({STATUS, ALLOCATION_ID, NODE, DEVICES, REASON, RESERVED, LIBRARY})
RESULT_PREFIXES: Final = (ALLOCATION_PREFIX, VISIBLE_DEVICES_PREFIX, PRELOAD_PREFIX)

REQUEST_ANNOTATIONS: Final = frozenset(
    {MEMORY, CORES, CORES_POLICY, GPUS, MODELS, UUIDS, POLICY, CONTAINERS, WHEN_FULL, GROUP, GROUP_SIZE}
)
SIZE_PREFIXES: Final = (MEMORY_PREFIX, CORES_PREFIX, GPUS_PREFIX)
"""One container's own sizes: to write one is to ask for a slice."""
REQUEST_PREFIXES: Final = (*SIZE_PREFIXES, CORES_POLICY_PREFIX)

GATE: Final = f"{DOMAIN}/capacity"
"""The scheduling gate of a pod that waits for capacity."""

# --- What a namespace may hold (namespace annotations, and hard limits of ResourceQuotas) -------------------
QUOTA_MEMORY: Final = f"{DOMAIN}/quota-memory"
QUOTA_CORES: Final = f"{DOMAIN}/quota-cores"
QUOTA_GPUS: Final = f"{DOMAIN}/quota-gpus"
RESOURCE_QUOTA_MEMORY: Final = "limits.nvidia.com/gpumem"
"""In MiB, as HAMi counts."""
RESOURCE_QUOTA_CORES: Final = "limits.nvidia.com/gpucores"
RESOURCE_QUOTA_GPUS: Final = ("requests.nvidia.com/gpu", "limits.nvidia.com/gpu")
"""The first is what the API server takes for extended resources, the second HAMi's way to write it."""

# --- HAMi's container resources, understood unchanged ------------------------------------------------------
HAMI_GPU: Final = "nvidia.com/gpu"
HAMI_MEMORY: Final = "nvidia.com/gpumem"
HAMI_MEMORY_PERCENT: Final = "nvidia.com/gpumem-percentage"
HAMI_CORES: Final = "nvidia.com/gpucores"
HAMI_RESOURCES: Final = (HAMI_GPU, HAMI_MEMORY, HAMI_MEMORY_PERCENT, HAMI_CORES)
HAMI_SCHEDULER: Final = "hami-scheduler"
DEFAULT_SCHEDULER: Final = "default-scheduler"

GPU_TAINT: Final = "nvidia.com/gpu"

# --- Inside a GPU container --------------------------------------------------------------------------------
ALLOCATION_DIR: Final = "/etc/vramshare"
ALLOCATION_FILE: Final = "allocation"
REGION_DIR: Final = "/run/vramshare"
REGION_FILE: Final = "region"
LIBRARY_DIR: Final = "/opt/vramshare"
PRELOAD_FILE: Final = "/etc/ld.so.preload"

DELIVERED_LIBRARY: Final = f"{LIBRARY_DIR}/libvramshare-delivered.so"
"""The interposer of an image, in a pod that brings it along."""

ENV_PRELOAD: Final = "LD_PRELOAD"
ENV_VISIBLE: Final = "NVIDIA_VISIBLE_DEVICES"
VISIBLE_NONE: Final = "void"
"""What the NVIDIA runtime takes as "give this container no GPU"; an absent variable is not enough, because
CUDA images bake in `all`."""

VOLUME_LIBRARY: Final = "vramshare-library"
VOLUME_PRELOAD: Final = "vramshare-preload"
VOLUME_REGION: Final = "vramshare-region"
DELIVER_CONTAINER: Final = "vramshare-deliver"
"""The init container that copies the interposer into a pod's own volume."""
VOLUME_ALLOCATION_PREFIX: Final = "vramshare-allocation-"

# --- In the agent's image ----------------------------------------------------------------------------------
IMAGE_LIBRARY_DIR: Final = "usr/lib/vramshare"
"""The folder with the interposer, seen from the image's root."""

# --- On the host -------------------------------------------------------------------------------------------
DEFAULT_HOST_DIR: Final = "/var/lib/vramshare"
HOST_PRELOAD_FILE: Final = "ld.so.preload"
HOST_TIMETABLES: Final = "gpus"

# --- Objects of our own ------------------------------------------------------------------------------------
DEFAULT_NAMESPACE: Final = "vramshare-system"
REGISTRATION: Final = "vramshare"
"""The MutatingWebhookConfiguration of the manifests."""
WEBHOOK_SERVICE: Final = "vramshare-webhook"
"""The Service in front of the webhook's replicas; their Deployment and service account are called the same."""
CERTIFICATE_SECRET: Final = "vramshare-webhook-certificates"  # noqa: S105 - a name
"""Where the replicas keep CA and serving certificate."""
KIND_LABEL: Final = f"{DOMAIN}/kind"
KIND_INVENTORY: Final = "inventory"
KIND_LEDGER: Final = "ledger"
PART_OF_LABEL: Final = "app.kubernetes.io/part-of"
PART_OF: Final = "vramshare"

_NAME_LIMIT: Final = 253
_VOLUME_LIMIT: Final = 63


def inventory_name(node: str) -> str:
    """Name of the ConfigMap that holds a node's GPU inventory."""
    return _fitting(f"{PART_OF}-{KIND_INVENTORY}-{node}", limit=_NAME_LIMIT)


def ledger_name(node: str) -> str:
    """Name of the ConfigMap that holds the grants of a node."""
    return _fitting(f"{PART_OF}-{KIND_LEDGER}-{node}", limit=_NAME_LIMIT)


def agent_lease_name(node: str) -> str:
    """Name of the Lease by which a node's agent says that it lives."""
    return _fitting(f"{PART_OF}-agent-{node}", limit=_NAME_LIMIT)


def memory_annotation(container: str) -> str:
    """Annotation with one container's own VRAM size."""
    return MEMORY_PREFIX + container


def cores_annotation(container: str) -> str:
    """Annotation with one container's own share of GPU time."""
    return CORES_PREFIX + container


def cores_policy_annotation(container: str) -> str:
    """Annotation that says whether one container may use GPU time beyond its own share."""
    return CORES_POLICY_PREFIX + container


def gpus_annotation(container: str) -> str:
    """Annotation with one container's own number of slices."""
    return GPUS_PREFIX + container


def allocation_annotation(container: str) -> str:
    """Annotation that becomes the container's allocation file."""
    return ALLOCATION_PREFIX + container


def visible_devices_annotation(container: str) -> str:
    """Annotation that becomes the container's NVIDIA_VISIBLE_DEVICES."""
    return VISIBLE_DEVICES_PREFIX + container


def preload_annotation(container: str) -> str:
    """Annotation that becomes the container's LD_PRELOAD."""
    return PRELOAD_PREFIX + container


def allocation_volume(container: str) -> str:
    """Name of the downwardAPI volume with one container's limits."""
    return _fitting(VOLUME_ALLOCATION_PREFIX + container, limit=_VOLUME_LIMIT)


def is_result(annotation: str) -> bool:
    """Whether only vramshare may write this annotation."""
    return annotation in RESULT_ANNOTATIONS or annotation.startswith(RESULT_PREFIXES)


def is_request(annotation: str) -> bool:
    """Whether this annotation is part of what a user asks."""
    return annotation in REQUEST_ANNOTATIONS or annotation.startswith(REQUEST_PREFIXES)


def _fitting(name: str, *, limit: int) -> str:
    """The name itself, or a prefix with a digest of the whole where Kubernetes would refuse its length."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{name[: limit - len(digest) - 1].rstrip('-.')}-{digest}"
