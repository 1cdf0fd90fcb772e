"""Pods on the embedded cluster: what their containers see, print and leave behind."""

import asyncio
import json
import os
import pathlib
import sys

import pytest
from devcluster.client import CONFIGMAPS, PODS

pytestmark = pytest.mark.asyncio(loop_scope="module")

TERM = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.01; done"


def started(pod):
    """Whether a container of the pod runs."""
    return pod and any("running" in each["state"] for each in pod["status"].get("containerStatuses", []))


def exists(path):
    """Whether this machine has the file."""
    return pathlib.Path(path).exists()


async def test_a_pod_runs_to_its_end(lab):
    """Output, exit code and phase arrive."""
    await lab.pod("p", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert await lab.output("p") == "out\nerr\n"
    pod = await lab.phase("p", "Failed")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")


async def test_env_from_annotations_and_addresses(lab):
    """Env by fieldRef is resolved when the container starts, the pod's address included."""
    fields = {"A": "metadata.annotations['vramshare.io/x']", "N": "spec.nodeName", "P": "status.podIP"}
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    container = {"env": [*env, {"name": "E", "value": "$(A)!"}]}
    metadata = {"annotations": {"vramshare.io/x": "7"}}
    await lab.pod("p", "sh", "-c", "echo $A $E $N $P $HOSTNAME", container=container, metadata=metadata)
    words = (await lab.output("p")).split()
    status = (await lab.phase("p", "Succeeded"))["status"]
    assert words[:2] == ["7", "7!"]
    assert words[2] in {"one", "two"}
    assert words[3:] == [status["podIP"], "p"]


async def test_a_container_sees_its_own_processes(lab, isolated):
    """It is process 1 of its own, and its host name is the pod's."""
    await lab.pod("p", "sh", "-c", "echo $$$$; hostname")
    assert (await lab.output("p")).split() == ["1", "p"]


async def test_what_a_container_writes_stays_inside(lab, isolated):
    """Its file system is a layer of its own, which goes with it."""
    if lab.cluster.isolation != "namespaces":
        pytest.skip("without root there is no overlay: the user's own files stay writable")
    marker = pathlib.Path("/tmp") / f"devcluster-{lab.namespace}"
    await lab.pod("p", "sh", "-c", f"touch {marker} /etc/{lab.namespace} && ls {marker}")
    assert (await lab.output("p")).split() == [str(marker)]
    assert not exists(marker)


async def test_a_downward_volume_follows_the_annotations(lab, isolated):
    """A changed annotation reaches the file of a running container; the change is one rename."""
    items = [{"path": "allocation", "fieldRef": {"fieldPath": "metadata.annotations['a']"}}]
    volumes = [{"name": "v", "downwardAPI": {"items": items}}]
    container = {"volumeMounts": [{"name": "v", "mountPath": "/etc/vramshare", "readOnly": True}]}
    watch = "cd /etc/vramshare; cat allocation; echo; while grep -q old allocation; do :; done; cat allocation"
    await lab.pod("p", "sh", "-c", watch, container=container, volumes=volumes, metadata={"annotations": {"a": "old"}})
    await lab.until(PODS, "p", started)
    await lab.client.patch(PODS.path(lab.namespace, "p"), {"metadata": {"annotations": {"a": "new"}}})
    assert (await lab.output("p")).split() == ["old", "new"]


async def test_a_preload_file_reaches_a_scrubbed_environment(lab, isolated, tiny_library):
    """A hostPath File mounted at /etc/ld.so.preload loads its library under ``env -i`` too."""
    lab.put("/var/lib/vramshare/libtiny.so", tiny_library.read_bytes())
    lab.put("/var/lib/vramshare/ld.so.preload", b"/opt/vramshare/libtiny.so\n")
    volumes = [
        {"name": "lib", "hostPath": {"path": "/var/lib/vramshare", "type": "Directory"}},
        {"name": "pre", "hostPath": {"path": "/var/lib/vramshare/ld.so.preload", "type": "File"}},
    ]
    mounts = [
        {"name": "lib", "mountPath": "/opt/vramshare", "readOnly": True},
        {"name": "pre", "mountPath": "/etc/ld.so.preload", "readOnly": True},
    ]
    selector = {"kubernetes.io/hostname": "one"}
    await lab.pod(
        "p", "env", "-i", "/bin/true", container={"volumeMounts": mounts}, volumes=volumes, nodeSelector=selector
    )
    assert "tiny library loaded" in await lab.output("p")
    assert not exists("/opt/vramshare/libtiny.so")


async def test_a_missing_host_file_keeps_the_container_from_starting(lab):
    """The pod stays ContainerCreating with FailedMount, and starts when the file is there."""
    volumes = [{"name": "f", "hostPath": {"path": "/opt/late", "type": "File"}}]
    await lab.pod("p", "true", volumes=volumes, nodeSelector={"kubernetes.io/hostname": "one"})
    event = await lab.event("p", "FailedMount")
    assert event["type"] == "Warning"
    assert event["message"] == (
        'MountVolume.SetUp failed for volume "f" : hostPath type check failed: /opt/late is not a file'
    )
    waiting = (await lab.phase("p", "Pending"))["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "ContainerCreating"
    lab.put("/opt/late", b"now")
    await lab.phase("p", "Succeeded")


async def test_a_memory_volume_is_bounded(lab, isolated):
    """A sizeLimit on a memory volume ends writes, and subPath folders are per container."""
    if lab.cluster.isolation != "namespaces":
        pytest.skip("only root may mount a tmpfs that the host sees")
    volumes = [{"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    container = {"volumeMounts": [{"name": "run", "mountPath": "/run/vramshare", "subPath": "c"}]}
    script = "head -c 3000000 /dev/zero > /run/vramshare/region; wc -c < /run/vramshare/region; sleep 60"
    pod = await lab.pod("p", "sh", "-c", script, container=container, volumes=volumes)
    running = await lab.until(PODS, "p", started)
    host = lab.cluster.host(running["spec"]["nodeName"])
    assert exists(host.volume(pod["metadata"]["uid"], "empty-dir", "run") + "/c")
    assert await lab.first_line("p", skip=1) == "1048576"
    await lab.delete("p", {"gracePeriodSeconds": 0})
    await lab.until(PODS, "p", lambda item: item is None)


async def test_the_grace_period_is_used(lab):
    """A container that ends on SIGTERM is given time, and its last words and exit code are kept to the end."""
    await lab.pod("p", "sh", "-c", TERM)
    assert await lab.first_line("p") == "up"
    seen = []
    await lab.delete("p")

    def gone(pod):
        seen.append(pod)
        return pod is None

    await lab.until(PODS, "p", gone)
    last = [pod for pod in seen if pod][-1]
    assert last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


async def test_the_grace_period_ends(lab):
    """A container that ignores SIGTERM is killed when its time is over."""
    await lab.pod("p", "sh", "-c", STUBBORN, terminationGracePeriodSeconds=1)
    assert await lab.first_line("p") == "up"
    seen = []
    await lab.delete("p")
    await lab.until(PODS, "p", lambda pod: seen.append(pod) or pod is None)
    last = [pod for pod in seen if pod][-1]
    assert last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


async def test_a_forced_deletion_ends_the_processes(lab):
    """Nothing of a pod runs once its object was deleted by force."""
    await lab.pod("p", "sh", "-c", f"echo {lab.namespace}; {STUBBORN}", lab.namespace)
    await lab.until(PODS, "p", started)
    assert await lab.first_line("p", skip=1) == "up"
    found = processes(lab.namespace)
    assert found
    await lab.delete("p", {"gracePeriodSeconds": 0})
    await lab.until(PODS, "p", lambda item: item is None)
    await lab.pod("after", "true")
    await lab.phase("after", "Succeeded")
    assert all(state(pid) == "Z" for pid in found)


def processes(word):
    """PIDs of the processes that have this word on their command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(path.parent.name))
    return found


def state(pid):
    """A process' state letter; Z also if it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


async def test_init_containers_and_sidecars(lab):
    """Init containers run in order, a sidecar runs beside the rest and is ended after it."""
    volumes = [{"name": "v", "emptyDir": {}}]
    shared = [{"name": "v", "mountPath": "/opt/shared"}]
    side = "trap 'echo side >> /opt/shared/log; exit 0' TERM; touch /opt/shared/side; while :; do sleep 0.01; done"
    if lab.cluster.isolation == "process":
        pytest.skip("a command line with mount paths inside its words is not rewritten")

    def container(name, script, **more):
        return {"name": name, "image": "host", "command": ["sh", "-c", script], "volumeMounts": shared, **more}

    init = [
        container("side", side, restartPolicy="Always"),
        container("init", "while ! test -e /opt/shared/side; do :; done; echo init >> /opt/shared/log"),
    ]
    main = {"volumeMounts": shared}
    await lab.pod(
        "p",
        "sh",
        "-c",
        "echo main >> /opt/shared/log; cat /opt/shared/log",
        container=main,
        initContainers=init,
        volumes=volumes,
    )
    pod = await lab.phase("p", "Succeeded")
    assert await lab.kubectl("logs", "p", "-c", "c") == "init\nmain\n"
    states = {each["name"]: each["state"] for each in pod["status"]["initContainerStatuses"]}
    assert states["init"]["terminated"]["exitCode"] == 0


async def test_a_crashing_container_backs_off(lab):
    """The first restart is immediate; then the container waits and says how long."""
    await lab.pod("p", "sh", "-c", "exit 2", restartPolicy="Always")

    def backs_off(pod):
        status = ((pod or {}).get("status", {}).get("containerStatuses") or [{}])[0]
        return status.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"

    status = (await lab.until(PODS, "p", backs_off))["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 2
    assert status["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=c pod=p_")
    assert (await lab.event("p", "BackOff"))["type"] == "Warning"


async def test_a_missing_config_map_is_waited_for(lab):
    """The container is not created, says why, and starts once the object exists."""
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}]
    await lab.pod("p", "sh", "-c", "echo $X", container={"env": env})

    def refused(pod):
        status = ((pod or {}).get("status", {}).get("containerStatuses") or [{}])[0]
        return status.get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError"

    pod = await lab.until(PODS, "p", refused)
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"] == 'configmap "late" not found'
    await lab.client.create(CONFIGMAPS.path(lab.namespace), {"metadata": {"name": "late"}, "data": {"k": "v"}})
    assert await lab.output("p") == "v\n"


async def test_a_command_that_does_not_exist(lab):
    """StartError with exit code 128, as container runtimes report it."""
    await lab.pod("p", "no-such-command")
    ended = (await lab.phase("p", "Failed"))["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "executable file not found in $PATH" in ended["message"]


API_CALL = """
import json, os, ssl, urllib.request
base = "/identity/"
url = "https://%(KUBERNETES_SERVICE_HOST)s:%(KUBERNETES_SERVICE_PORT)s/api/v1/namespaces/" % os.environ
request = urllib.request.Request(url + open(base + "namespace").read())
request.add_header("Authorization", "Bearer " + open(base + "token").read())
answer = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=base + "ca.crt"))
print(json.load(answer)["metadata"]["name"])
"""


async def test_a_pod_can_use_the_api(lab, isolated):
    """A projected volume with token, CA and namespace is all that a client in a pod needs."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes = [{"name": "identity", "projected": {"sources": sources}}]
    container = {"volumeMounts": [{"name": "identity", "mountPath": "/identity"}]}
    await lab.pod("p", sys.executable, "-c", API_CALL, container=container, volumes=volumes)
    assert await lab.output("p") == f"{lab.namespace}\n"


async def test_a_container_without_a_command_idles(lab):
    """The image is ignored, so there is nothing to run: the pod is Running until it is deleted."""
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "pause"}]}}
    await lab.client.create(PODS.path(lab.namespace), body)
    await lab.phase("p", "Running")
    await lab.delete("p")
    await lab.until(PODS, "p", lambda item: item is None)


async def test_termination_message(lab, isolated):
    """What a container writes to its termination log is in its status."""
    await lab.pod("p", "sh", "-c", "echo last words > /dev/termination-log")
    pod = await lab.phase("p", "Succeeded")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "last words\n"


async def test_kubectl_describe_reads_well(lab):
    """People find state, node and events of a pod."""
    await lab.pod("p", "sh", "-c", "exit 1")
    await lab.phase("p", "Failed")
    await lab.event("p", "Started")
    described = await lab.kubectl("describe", "pod", "p")
    assert "Exit Code:    1" in described
    assert "Successfully assigned" in described
    assert json.loads(await lab.kubectl("get", "pod", "p", "-o", "json"))["status"]["phase"] == "Failed"


@pytest.mark.parametrize(("propagation", "expected"), [("HostToContainer", "later"), ("None", "nothing")])
async def test_mount_propagation(lab, isolated, propagation, expected):
    """An agent sees memory volumes of pods that start after it only if its mount asks for that, as on a real node."""
    if lab.cluster.isolation != "namespaces":
        pytest.skip("only root may mount a tmpfs that the host sees")
    selector = {"kubernetes.io/hostname": "one"}
    pods = {"name": "pods", "hostPath": {"path": "/var/lib/kubelet/pods", "type": "Directory"}}
    mount = {"name": "pods", "mountPath": "/pods", "readOnly": True, "mountPropagation": propagation}
    script = (
        "trap 'cat /pods/*/volumes/kubernetes.io~empty-dir/m/word 2>/dev/null || echo nothing; exit 0' TERM; "
        "echo up; while :; do sleep 0.01; done"
    )
    await lab.pod(
        "agent", "sh", "-c", script, container={"volumeMounts": [mount]}, volumes=[pods], nodeSelector=selector
    )
    assert await lab.first_line("agent") == "up"
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory"}}]
    container = {"volumeMounts": [{"name": "m", "mountPath": "/m"}]}
    write = "echo later > /m/word; echo up; sleep 1000"
    await lab.pod("later", "sh", "-c", write, container=container, volumes=volumes, nodeSelector=selector)
    assert await lab.first_line("later") == "up"
    follow = asyncio.ensure_future(lab.first_line("agent", skip=1))
    await lab.delete("agent")
    assert await follow == expected
    await lab.delete("later", {"gracePeriodSeconds": 0})


async def test_host_pid(lab, isolated):
    """A pod that shares the host's PID namespace sees the machine's processes."""
    await lab.pod("p", "sh", "-c", f"tr '\\0' '\\n' < /proc/{os.getpid()}/cmdline | head -1", hostPID=True)
    assert (await lab.output("p")).strip() == own_program()


def own_program():
    """The first word of this process' command line."""
    return pathlib.Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
