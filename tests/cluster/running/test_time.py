"""What takes time on a cluster, on a clock that the test winds: back-off, grace, refresh, silent nodes."""

import asyncio
import pathlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from devcluster.client import NODES, PODS, Client
from devcluster.cluster import Cluster
from devcluster.nodes import NodeSpec

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.01; done"
NOON = 1_800_000_000.0


class WoundClock:
    """A clock that stands still until it is wound."""

    def __init__(self) -> None:
        self._now = NOON
        self._sleepers: list[tuple[float, float, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    def time(self) -> float:
        """The time."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been wound by ``seconds``."""
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, seconds, future))
        self._changed.set()
        await future

    async def asleep(self, seconds: float) -> None:
        """Return once somebody sleeps for exactly ``seconds``."""
        async with asyncio.timeout(20):
            while not any(asked == seconds and not future.done() for _, asked, future in self._sleepers):
                self._changed.clear()
                await self._changed.wait()

    def wind(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        due = [future for until, _, future in self._sleepers if until <= self._now]
        self._sleepers = [each for each in self._sleepers if each[2] not in due and not each[2].done()]
        for future in due:
            if not future.done():
                future.set_result(None)


@pytest.fixture
def clock() -> WoundClock:
    """The cluster's clock."""
    return WoundClock()


@pytest.fixture
def refresh() -> float:
    """The cluster's volume refresh."""
    return 0.0


@pytest_asyncio.fixture
async def shared(tmp_path: pathlib.Path, clock: WoundClock, refresh: float) -> AsyncIterator[tuple[Cluster, Client]]:
    """A cluster on that clock."""
    nodes = [NodeSpec(name="one"), NodeSpec(name="two")]
    async with Cluster(dir=tmp_path, nodes=nodes, clock=clock, volume_refresh=refresh) as cluster:
        ca = (tmp_path / "pki" / "ca.crt").read_text()
        async with Client(url=cluster.url, ca_pem=ca, token=cluster.token, agent="test") as client:
            yield cluster, client


@pytest_asyncio.fixture
async def lab(shared: tuple[Cluster, Client], make_lab: Callable) -> object:
    """A namespace of it."""
    return await make_lab(*shared)


def backs_off(words):
    """Whether the pod's container waits for that long until its next start."""
    message = f"back-off {words} restarting"
    return lambda pod: any(
        each["state"].get("waiting", {}).get("message", "").startswith(message)
        for each in pod["status"].get("containerStatuses", [])
    )


async def test_back_off_doubles(lab, clock):
    """The second restart comes after ten seconds, the third after twenty more."""
    await lab.pod("p", "sh", "-c", "exit 2", restartPolicy="Always")
    for delay in (10, 20, 40):
        await lab.until(PODS, "p", backs_off(f"{delay}s"))
        await clock.asleep(delay)
        clock.wind(delay)
    await lab.until(PODS, "p", backs_off("1m20s"))


async def test_sigkill_comes_at_the_end_of_the_grace_period(lab, clock):
    """Not a second earlier."""
    await lab.pod("p", "sh", "-c", STUBBORN, terminationGracePeriodSeconds=33)
    assert await lab.first_line("p") == "up"
    await lab.delete("p")
    await clock.asleep(33)
    clock.wind(32)
    assert (await lab.client.get(PODS.path(lab.namespace, "p")))["status"]["containerStatuses"][0]["state"]["running"]
    clock.wind(1)
    await lab.until(PODS, "p", lambda pod: pod is None)


async def test_a_second_deletion_may_shorten_the_grace_period(lab, clock):
    """The new period counts from the first SIGTERM."""
    await lab.pod("p", "sh", "-c", STUBBORN, terminationGracePeriodSeconds=300)
    assert await lab.first_line("p") == "up"
    await lab.delete("p")
    await clock.asleep(300)
    clock.wind(10)
    await lab.delete("p", {"gracePeriodSeconds": 15})
    await clock.asleep(5)
    clock.wind(5)
    await lab.until(PODS, "p", lambda pod: pod is None)


@pytest.mark.parametrize("refresh", [60.0])
async def test_volumes_are_refreshed_at_the_set_period(lab, clock, refresh):
    """With the setting of a real node, a changed annotation is seen at the next round only."""
    items = [{"path": "a", "fieldRef": {"fieldPath": "metadata.annotations['a']"}}]
    volumes = [{"name": "v", "downwardAPI": {"items": items}}]
    made = await lab.pod("p", volumes=volumes, metadata={"annotations": {"a": "old"}}, restartPolicy="Always")
    pod = await lab.phase("p", "Running")
    place = lab.cluster.host(pod["spec"]["nodeName"]).volume(made["metadata"]["uid"], "downward-api", "v")
    await lab.client.patch(PODS.path(lab.namespace, "p"), {"metadata": {"annotations": {"a": "new"}}})
    await lab.pod("later", "true", nodeName=pod["spec"]["nodeName"])
    await lab.phase("later", "Succeeded")
    assert content(place) == "old"
    clock.wind(60)
    await clock.asleep(60)
    await lab.pod("last", "true", nodeName=pod["spec"]["nodeName"])
    await lab.phase("last", "Succeeded")
    assert content(place) == "new"


def content(folder):
    """What the file ``a`` of a volume holds."""
    return pathlib.Path(folder, "a").read_text()


def ready(status):
    """Whether a node's Ready condition has this status."""
    return lambda node: any(
        each["type"] == "Ready" and each["status"] == status for each in node["status"].get("conditions", [])
    )


async def test_a_silent_node_is_given_up_and_the_others_are_not(lab, clock):
    """After 40 s without a Lease the node is Unknown and tainted."""
    await lab.cluster.stop_node("two")
    for _ in range(12):
        await clock.asleep(5)
        clock.wind(5)
    node = await lab.until(NODES, "two", lambda item: ready("Unknown")(item) and item["spec"].get("taints"))
    assert {taint["key"] for taint in node["spec"]["taints"]} == {"node.kubernetes.io/unreachable"}
    for _ in range(3):
        await clock.asleep(5)
        clock.wind(5)
    await lab.until(NODES, "one", lambda item: ready("True")(item) and not item["spec"].get("taints"))


async def test_a_node_that_was_given_up_reports_back(lab, clock):
    """With its next Lease the kubelet says again that the node is ready."""
    await lab.until(NODES, "one", ready("True"))
    lost = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "x"}
    path = NODES.path(name="one", subresource="status")
    await lab.client.patch(path, {"status": {"conditions": [lost]}}, "strategic")
    await clock.asleep(10)
    clock.wind(10)
    await lab.until(NODES, "one", ready("True"))


async def test_pods_of_a_deleted_node_are_collected(lab, clock):
    """After a while they are deleted by force, since nobody else can."""
    await lab.pod("p", "sh", "-c", "sleep 1000", nodeName="two")
    await lab.phase("p", "Running")
    await lab.cluster.stop_node("two")
    await lab.client.delete(NODES.path(name="two"))
    for _ in range(12):
        await clock.asleep(5)
        clock.wind(5)
    await lab.until(PODS, "p", lambda pod: pod is None)
