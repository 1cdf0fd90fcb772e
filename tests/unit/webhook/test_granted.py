"""A pod that is granted slices at admission: everything that its patch must hold."""

import pytest

from allocator.api.errors import RequestError
from tests.unit.webhook.support import LIBRARY, NODE, admit, cdi, container, env, gpu_pod, mutating, pod

PIN = {"key": "metadata.name", "operator": "In", "values": [NODE]}


async def test_result_annotations_say_what_was_granted() -> None:
    """Status, id, node, devices and the container's allocation line stand in annotations."""
    got = (await admit(gpu_pod())).annotations
    assert got["vramshare.io/status"] == "allocated"
    assert got["vramshare.io/allocation-id"] == "grant-1"
    assert got["vramshare.io/node"] == NODE
    assert got["vramshare.io/devices"] == "GPU-0"
    assert got["allocation.vramshare.io/main"].startswith("GPU-0 memory=2147483648 cores=25 ")
    assert got["visible-devices.vramshare.io/main"] == "GPU-0"
    assert got["preload.vramshare.io/main"] == LIBRARY


async def test_request_is_written_out_per_container() -> None:
    """The request survives in annotations, normalised, beside what the user wrote."""
    got = (await admit(gpu_pod())).annotations
    assert got["vramshare.io/memory"] == "2Gi"
    assert got["memory.vramshare.io/main"] == "2Gi"
    assert got["cores.vramshare.io/main"] == "25"


async def test_users_own_request_is_not_rewritten() -> None:
    """A size that the user wrote per container stays in the user's words."""
    got = (await admit(pod({"memory.vramshare.io/main": "2048Mi"}))).annotations
    assert got["memory.vramshare.io/main"] == "2048Mi"


async def test_cdi_node_gets_qualified_names() -> None:
    """Where the runtime resolves CDI names, NVIDIA_VISIBLE_DEVICES holds them."""
    got = await admit(pod({"vramshare.io/memory": "2Gi", "vramshare.io/gpus": "2"}), allocator=cdi())
    assert got.annotations["visible-devices.vramshare.io/main"] == "nvidia.com/gpu=GPU-0,nvidia.com/gpu=GPU-1"


async def test_environment_comes_from_annotations() -> None:
    """LD_PRELOAD and NVIDIA_VISIBLE_DEVICES are fieldRefs, so that a queued pod can be answered later."""
    got = (await admit(gpu_pod(container(env=env(A="1"))))).env()
    assert got == {
        "A": "1",
        "LD_PRELOAD": "metadata.annotations['preload.vramshare.io/main']",
        "NVIDIA_VISIBLE_DEVICES": "metadata.annotations['visible-devices.vramshare.io/main']",
    }


async def test_files_are_mounted() -> None:
    """Interposer, preload file, region and limits each have their path; the region is the container's own part."""
    got = await admit(gpu_pod())
    mounts = {one["mountPath"]: one for one in got.container()["volumeMounts"]}
    assert mounts["/opt/vramshare"] == {
        "name": "vramshare-library",
        "mountPath": "/opt/vramshare",
        "readOnly": True,
    }
    assert mounts["/etc/ld.so.preload"]["readOnly"]
    assert mounts["/run/vramshare"]["subPath"] == "main"
    assert "subPath" not in mounts["/etc/vramshare"], "a subPath would never be refreshed"


async def test_volumes_require_the_hosts_files() -> None:
    """A node without the interposer must refuse the container: the hostPath types say what has to be there."""
    got = {one["name"]: one for one in (await admit(gpu_pod())).spec["volumes"]}
    assert got["vramshare-library"]["hostPath"] == {"path": "/var/lib/vramshare", "type": "Directory"}
    assert got["vramshare-preload"]["hostPath"] == {"path": "/var/lib/vramshare/ld.so.preload", "type": "File"}
    assert got["vramshare-region"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Mi"}
    item = got["vramshare-allocation-main"]["downwardAPI"]["items"][0]
    assert (item["path"], item["fieldRef"]["fieldPath"]) == (
        "allocation",
        "metadata.annotations['allocation.vramshare.io/main']",
    )


async def test_settings_reach_the_pod() -> None:
    """Host folder, runtime class and region size are the cluster's to choose."""
    settings = mutating(host_dir="/srv/v", runtime_class="nvidia", tolerate_gpu_taint=False)
    got = (await admit(gpu_pod(), settings=settings)).spec
    assert got["volumes"][0]["hostPath"]["path"] == "/srv/v"
    assert got["runtimeClassName"] == "nvidia"
    assert "tolerations" not in got


async def test_users_runtime_class_stays() -> None:
    """Somebody who chose a runtime class had a reason."""
    got = await admit(gpu_pod(runtimeClassName="mine"), settings=mutating(runtime_class="nvidia"))
    assert got.spec["runtimeClassName"] == "mine"


async def test_gpu_taint_is_tolerated() -> None:
    """GPU nodes are commonly tainted."""
    got = await admit(gpu_pod())
    assert got.spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    "own", [{"operator": "Exists"}, {"key": "nvidia.com/gpu", "operator": "Exists"}], ids=["everything", "any effect"]
)
async def test_wider_toleration_is_enough(own: dict[str, str]) -> None:
    """A pod that tolerates the taint already gets no second toleration."""
    assert (await admit(gpu_pod(tolerations=[own]))).spec["tolerations"] == [own]


async def test_narrow_toleration_is_not_enough() -> None:
    """One for a single value of the taint does not cover the others."""
    own = {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}
    assert len((await admit(gpu_pod(tolerations=[own]))).spec["tolerations"]) == 2


async def test_pin_goes_into_every_term() -> None:
    """Terms are alternatives: one without the pin would be a way around it."""
    terms = [{"matchExpressions": [{"key": zone, "operator": "Exists"}]} for zone in ("a", "b")]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    got = (await admit(gpu_pod(affinity=affinity))).spec["affinity"]
    pinned = got["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchFields"] for term in pinned] == [[PIN], [PIN]]
    assert [term["matchExpressions"] for term in pinned] == [term["matchExpressions"] for term in terms]


async def test_other_affinity_stays() -> None:
    """Pod affinity and preferences are the user's."""
    got = (await admit(gpu_pod(affinity={"podAntiAffinity": {"x": 1}}))).spec["affinity"]
    assert got["podAntiAffinity"] == {"x": 1}


async def test_containers_without_a_slice_see_no_gpu() -> None:
    """Only the container that asked gets a GPU; the others, init containers too, are kept from all."""
    got = await admit(gpu_pod(container(), container("side"), initContainers=[container("init")]))
    for name in ("side", "init"):
        assert got.env(name) == {"NVIDIA_VISIBLE_DEVICES": "void"}
        assert got.mounts(name) == {}


async def test_several_containers_each_get_their_own() -> None:
    """Two containers with slices have their own limits, variables, region part, and room in the region volume."""
    got = await admit(
        pod({"memory.vramshare.io/a": "1Gi", "memory.vramshare.io/b": "3Gi"}, container("a"), container("b"))
    )
    assert got.annotations["allocation.vramshare.io/a"].startswith("GPU-0 memory=1073741824 cores=0 ")
    assert got.annotations["allocation.vramshare.io/b"].startswith("GPU-0 memory=3221225472 cores=0 ")
    assert got.mounts("a")["/etc/vramshare"] == "vramshare-allocation-a"
    assert got.mounts("b")["/etc/vramshare"] == "vramshare-allocation-b"
    sizes = [one["emptyDir"]["sizeLimit"] for one in got.spec["volumes"] if "emptyDir" in one]
    assert sizes == ["16Mi"]


async def test_init_containers_and_native_sidecars_can_have_slices() -> None:
    """A sidecar is an init container that stays; it is served like any other."""
    sidecar = container("proxy", restartPolicy="Always")
    got = await admit(pod({"memory.vramshare.io/proxy": "1Gi"}, container(), initContainers=[sidecar]))
    assert "allocation.vramshare.io/proxy" in got.annotations
    assert got.mounts("proxy")["/run/vramshare"] == "vramshare-region"
    assert got.env()["NVIDIA_VISIBLE_DEVICES"] == "void"


@pytest.mark.parametrize("ephemeral", [{}, {"ephemeralContainers": []}, {"ephemeralContainers": None}])
async def test_ephemeral_list_may_be_absent_or_empty(ephemeral: dict[str, None]) -> None:
    """A new pod has no ephemeral containers, written in any way."""
    got = await admit(gpu_pod(initContainers=None, **ephemeral))
    assert got.annotations["vramshare.io/status"] == "allocated"
    assert got.spec.get("ephemeralContainers") == ephemeral.get("ephemeralContainers")


async def test_users_preload_follows_ours() -> None:
    """What the user preloads is loaded still, after the interposer."""
    got = await admit(gpu_pod(container(env=env(LD_PRELOAD="/lib/a.so:/lib/b.so"))))
    assert got.annotations["preload.vramshare.io/main"] == f"{LIBRARY}:/lib/a.so:/lib/b.so"
    assert got.env()["LD_PRELOAD"] == "metadata.annotations['preload.vramshare.io/main']"
    assert [text for text in got.answer.warnings if "LD_PRELOAD starts with vramshare's library now" in text]


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "LD_PRELOAD", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "LD_PRELOAD", "value": "$(HOME)/x.so"},
    ],
    ids=["from elsewhere", "with a reference"],
)
async def test_preload_that_cannot_be_read_is_replaced_with_a_warning(entry: dict[str, object]) -> None:
    """A value that is not known here cannot stand beside ours; the user is told."""
    got = await admit(gpu_pod(container(env=[entry])))
    assert got.annotations["preload.vramshare.io/main"] == LIBRARY
    assert [text for text in got.answer.warnings if "'main': LD_PRELOAD is replaced" in text]


async def test_variable_that_stands_twice_is_ours_once() -> None:
    """Of two variables with one name the last counts: none but ours may be left."""
    twice = env(NVIDIA_VISIBLE_DEVICES="all") + env(B="2") + env(NVIDIA_VISIBLE_DEVICES="0")
    got = await admit(gpu_pod(container(env=twice)))
    assert [one["name"] for one in got.container()["env"]] == ["NVIDIA_VISIBLE_DEVICES", "B", "LD_PRELOAD"]
    assert [text for text in got.answer.warnings if "NVIDIA_VISIBLE_DEVICES is replaced" in text]


async def test_autoscaler_may_evict() -> None:
    """Our volumes hold nothing to save, and what the user listed stays listed."""
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
    got = await admit(pod({"vramshare.io/memory": "1Gi", key: "scratch, vramshare-region"}))
    assert got.annotations[key] == "scratch,vramshare-region,vramshare-library,vramshare-preload"


@pytest.mark.parametrize(
    "path",
    ["/etc/vramshare", "/run/vramshare/x", "/var/run/vramshare", "/opt/vramshare/", "//etc/../etc/ld.so.preload"],
)
async def test_users_mount_over_our_files_is_refused(path: str) -> None:
    """It would take the wall away, or lose what the user mounts; the message names container, path and remedy."""
    mounts = [{"name": "data", "mountPath": path}]
    with pytest.raises(RequestError, match=r"container 'main': mountPath is .*; mount it at another path"):
        await admit(gpu_pod(container(volumeMounts=mounts), volumes=[{"name": "data", "emptyDir": {}}]))


async def test_users_mount_beside_our_files_is_fine() -> None:
    """Neighbouring paths, and our paths in a container without a slice, are free."""
    side = container("side", volumeMounts=[{"name": "data", "mountPath": "/opt/vramshare"}])
    got = await admit(gpu_pod(container(volumeMounts=[{"name": "data", "mountPath": "/opt/vramshare2"}]), side))
    assert got.mounts()["/opt/vramshare2"] == "data"
    assert got.mounts("side") == {"/opt/vramshare": "data"}


async def test_planning_sees_the_toleration_and_no_gpu_resources() -> None:
    """The allocator judges nodes by the pod as it will be."""
    resources = {"limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "3k"}}
    got = await admit(pod(None, container(resources=resources)))
    planned = got.allocator.asked[0].pod["spec"]
    assert planned["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert planned["containers"][0]["resources"] == {}


async def test_owner_name_and_trace_reach_the_allocator() -> None:
    """Namespace comes from the review, the name from generateName, the owner is the controller."""
    made = gpu_pod()
    made["metadata"] = {
        "generateName": "web-",
        "annotations": made["metadata"]["annotations"],
        "ownerReferences": [
            {"kind": "Foo", "name": "f", "uid": "1"},
            {"kind": "ReplicaSet", "name": "web", "uid": "2", "controller": True},
        ],
    }
    asked = (await admit(made, namespace="other")).allocator.asked[0]
    assert (asked.namespace, asked.pod_name, asked.owner) == ("other", "web-*", "ReplicaSet/web/2")
    assert asked.trace == "u-1"


async def test_audit_names_node_and_gpus() -> None:
    """The audit log tells where the pod went."""
    audit = (await admit(gpu_pod())).answer.audit
    assert audit == {"node": NODE, "gpus": "GPU-0", "reason": "granted"}


async def test_dry_run_writes_nothing_and_answers_the_same() -> None:
    """A dry run is planned, and the allocator is told so."""
    got = await admit(gpu_pod(), dry_run=True)
    assert got.allocator.asked[0].dry_run
    assert not got.allocator.ledger
    assert got.annotations["vramshare.io/status"] == "allocated"
