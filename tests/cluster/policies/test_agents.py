"""One service account serves the agents of all nodes; its tokens tell them apart."""

from typing import Any

import pytest

from allocator.api import names
from tests.cluster.policies.conftest import EDITOR, People

pytestmark = pytest.mark.asyncio(loop_scope="module")
Json = dict[str, Any]
AGENT = "agent"


def objects(node: str) -> list[Json]:
    """What the agent of a node writes."""

    def named(name: str) -> Json:
        return {"name": name, "namespace": names.DEFAULT_NAMESPACE}

    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named(names.inventory_name(node))},
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": named(names.agent_lease_name(node)),
            "spec": {"holderIdentity": node},
        },
    ]


async def token(people: People, *bound: str) -> str:
    """A token of the agents' service account."""
    system = names.DEFAULT_NAMESPACE
    return (await people.must("admin", "-n", system, "create", "token", "vramshare-agent", *bound)).strip()


async def of_node(people: People, node: str) -> str:
    """The token of a node's agent."""
    return await token(people, "--bound-object-kind=Node", f"--bound-object-name={node}")


async def test_an_agent_writes_its_own_nodes_objects(people: People) -> None:
    """It makes them, changes them, and could take them away."""
    own = await of_node(people, "node-a")
    for action in ("create", "replace", "delete"):
        await people.must(AGENT, action, "-f", "-", given=objects("node-a"), token=own)


async def test_the_token_of_a_pod_names_its_node(people: People) -> None:
    """As the kubelet asks for it, for the pods of a DaemonSet."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "agent-b", "namespace": names.DEFAULT_NAMESPACE},
        "spec": {"nodeName": "node-b", "containers": [{"name": "agent", "image": "x"}]},
    }
    await people.must("admin", "create", "-f", "-", given=pod)
    own = await token(people, "--bound-object-kind=Pod", "--bound-object-name=agent-b")
    await people.must(AGENT, "create", "-f", "-", given=objects("node-b"), token=own)


async def test_an_agent_is_kept_from_other_nodes(people: People) -> None:
    """It neither makes, nor changes, nor deletes what another node's agent writes; nor a ledger."""
    own = await of_node(people, "node-a")
    others = objects("node-c")
    system = names.DEFAULT_NAMESPACE
    ledger = {**others[0], "metadata": {"name": names.ledger_name("node-a"), "namespace": system}}
    for one in [*others, ledger]:
        assert "the agent of node node-a writes" in await people.refused(
            AGENT, "create", "-f", "-", given=one, token=own
        )
        await people.must("admin", "create", "-f", "-", given=one)
        await people.refused(AGENT, "replace", "-f", "-", given=one, token=own)
        await people.refused(AGENT, "delete", "-f", "-", given=one, token=own)


async def test_a_name_that_begins_alike_is_another(people: People) -> None:
    """node-a's agent is not node-ab's."""
    own = await of_node(people, "node-a")
    for one in objects("node-ab"):
        await people.refused(AGENT, "create", "-f", "-", given=one, token=own)


async def test_a_token_that_names_no_node_writes_nothing(people: People) -> None:
    """Such as one that somebody made by hand for the service account."""
    nobody = await token(people)
    for one in objects("node-d"):
        assert "names no node" in await people.refused(AGENT, "create", "-f", "-", given=one, token=nobody)


async def test_an_event_may_be_told_of_anything(people: People) -> None:
    """Events and other users are none of this policy's business."""
    own = await of_node(people, "node-a")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "team"},
        "involvedObject": {"kind": "Pod", "namespace": "team", "name": "p"},
        "reason": "NotIsolated",
    }
    await people.must(AGENT, "create", "-f", "-", given=event, token=own)
    await people.must(EDITOR, "create", "-f", "-", given=objects("node-e"))
