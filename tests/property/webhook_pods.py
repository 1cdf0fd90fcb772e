"""Strategies for pods as users, templates and other webhooks write them."""

from typing import Any

import orjson
from hypothesis import strategies as st

NAMES = ("main", "side", "proxy")
PIN = {"key": "metadata.name", "operator": "In", "values": ["node-a"]}

_sizes = st.sampled_from(["1Gi", "2048Mi", "20%"])
_env = st.lists(
    st.one_of(
        st.builds(
            lambda name, value: {"name": name, "value": value},
            st.sampled_from(["A", "LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES"]),
            st.sampled_from(["", "all", "/a.so", "/a.so:/b.so", "void", "$(A)", "/opt/vramshare/old.so"]),
        ),
        st.just({"name": "LD_PRELOAD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        st.sampled_from(NAMES).map(
            lambda name: {
                "name": "LD_PRELOAD",
                "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['preload.vramshare.io/{name}']"}},
            }
        ),
    ),
    max_size=4,
)
_mounts = st.lists(
    st.sampled_from(
        [
            {"name": "data", "mountPath": "/data"},
            {"name": "vramshare-region", "mountPath": "/run/vramshare"},
            {"name": "vramshare-allocation-main", "mountPath": "/x", "readOnly": True},
        ]
    ),
    max_size=3,
)
_volumes = st.lists(
    st.sampled_from(
        [
            {"name": "data", "emptyDir": {}},
            {"name": "vramshare-library", "emptyDir": {}},
            {"name": "vramshare-allocation-gone", "hostPath": {"path": "/"}},
        ]
    ),
    max_size=3,
    unique_by=lambda volume: volume["name"],
)
hami = st.fixed_dictionaries(
    {},
    optional={
        "nvidia.com/gpu": st.sampled_from(["0", "1", "2"]),
        "nvidia.com/gpumem": st.sampled_from(["1k", "512"]),
        "nvidia.com/gpucores": st.just("30"),
        "cpu": st.just("1"),
    },
)


def containers(resources: st.SearchStrategy[dict[str, str]]) -> st.SearchStrategy[dict[str, Any]]:
    """Containers, without names yet."""
    return st.fixed_dictionaries(
        {"image": st.just("x")},
        optional={
            "env": _env,
            "volumeMounts": _mounts,
            "resources": st.fixed_dictionaries({}, optional={"limits": resources, "requests": resources}),
        },
    )


_annotations = st.fixed_dictionaries(
    {},
    optional={
        "vramshare.io/memory": _sizes,
        "vramshare.io/cores": st.just("25"),
        "vramshare.io/gpus": st.just("2"),
        "memory.vramshare.io/main": _sizes,
        "cores.vramshare.io/main": st.just("50"),
        "vramshare.io/models": st.just("Tesla T4"),
        "note": st.just("x"),
        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": st.just("data"),
    },
)
_brought = st.fixed_dictionaries(
    {},
    optional={
        "vramshare.io/status": st.sampled_from(["allocated", "queued", "?"]),
        "vramshare.io/allocation-id": st.just("forged"),
        "vramshare.io/node": st.just("node-a"),
        "vramshare.io/reason": st.just("because"),
        "allocation.vramshare.io/main": st.sampled_from(["GPU-0 memory=1 cores=0", "nonsense"]),
        "preload.vramshare.io/main": st.sampled_from(["/p.so", "/opt/vramshare/x.so:/p.so"]),
    },
)
_affinity = st.sampled_from(
    [
        {"podAffinity": {}},
        {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        *(
            {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
            for terms in (
                [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, {"matchFields": [PIN]}],
                [{"matchFields": [PIN]}],
            )
        ),
    ]
)
_gates = st.lists(st.sampled_from(["vramshare.io/capacity", "other.io/x"]), max_size=2, unique=True).map(
    lambda gates: [{"name": gate} for gate in gates]
)
_tolerations = st.lists(st.sampled_from([{"operator": "Exists"}, {"key": "a", "operator": "Exists"}]), max_size=2)
_nothing: st.SearchStrategy[dict[str, str]] = st.just({})


@st.composite
def pods(draw: st.DrawFn, *, brought: bool = True) -> dict[str, Any]:
    """A pod in one syntax or the other, or without any request; perhaps with marks that are not its own."""
    by_resources = draw(st.booleans())
    asked = {} if by_resources else draw(_annotations)
    one = containers(hami if by_resources else _nothing)
    mains = [{**draw(one), "name": name} for name in NAMES[: draw(st.integers(1, 2))]]
    spec: dict[str, Any] = {"containers": mains}
    if draw(st.booleans()):
        spec["initContainers"] = [{**draw(one), "name": "proxy"}]
    optional: dict[str, st.SearchStrategy[Any]] = {
        "volumes": _volumes,
        "affinity": _affinity,
        "schedulingGates": _gates,
        "tolerations": _tolerations,
        "nodeName": st.just("node-a"),
        "schedulerName": st.sampled_from(["default-scheduler", "hami-scheduler"]),
        "runtimeClassName": st.just("mine"),
        "ephemeralContainers": st.just([]),
    }
    spec |= draw(st.fixed_dictionaries({}, optional=optional))
    annotations = {**asked, **(draw(_brought) if brought else {})}
    metadata: dict[str, Any] = {"name": "p"}
    if annotations or draw(st.booleans()):
        metadata["annotations"] = annotations
    # Through JSON: strategies hand out the same constants in several places, and in JSON nothing is in two places.
    made: dict[str, Any] = orjson.loads(
        orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    )
    return made
