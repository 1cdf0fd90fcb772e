"""What the leader asks the API server before it believes that something is gone: a cache may lag behind."""

from dataclasses import dataclass, field

from allocator.api import names
from allocator.api.grant import Grant
from allocator.controller.engine import Engine
from allocator.core.giveback import PodFacts, Verdict, absent, made_for
from allocator.kube import NODES, PODS, JsonObject, NotFoundError


@dataclass(slots=True)
class Lookups:
    """Questions of one sweep; what was listed for one grant answers for the next.

    Attributes:
        engine: whose client and books to use.
    """

    engine: Engine
    _listed: dict[str, list[JsonObject]] = field(default_factory=dict)
    _nodes: dict[str, bool] = field(default_factory=dict)

    async def judge(self, grant: Grant) -> Verdict:
        """What to do with a grant whose pod is not to be seen: KEEP, CONFIRM or RELEASE.

        Raises:
            KubeError: nobody knows.
        """
        if not grant.uid:
            return await self._judge_unseen(grant)
        try:
            pod = await self.engine.client.get(PODS, grant.pod, namespace=grant.namespace)
        except NotFoundError:
            return absent(grant, self.engine.world.pods.carriers(grant.allocation.id))
        facts = PodFacts.of(pod)
        if facts.uid != grant.uid:
            return absent(grant, self.engine.world.pods.carriers(grant.allocation.id))
        if facts.ended:
            return Verdict.RELEASE if facts.stopped else Verdict.CONFIRM
        carried = _carried(pod)
        other = self.engine.world.ledgers.find(carried)
        # A queued pod that was granted twice holds the one that it carries, and never used this one.
        twice = other is not None and other.uid == grant.uid and carried != grant.allocation.id
        return Verdict.RELEASE if twice else Verdict.KEEP

    async def node_gone(self, node: str) -> bool:
        """Whether there is no such node any more.

        Raises:
            KubeError: nobody knows.
        """
        if self.engine.world.nodes.knows(node):
            return False
        if node not in self._nodes:
            try:
                await self.engine.client.get(NODES, node)
            except NotFoundError:
                self._nodes[node] = True
            else:
                self._nodes[node] = False
        return self._nodes[node]

    async def _judge_unseen(self, grant: Grant) -> Verdict:
        if grant.namespace not in self._listed:
            pods, _ = await self.engine.client.list(PODS, namespace=grant.namespace)
            self._listed[grant.namespace] = pods
        carriers = [
            facts
            for pod in self._listed[grant.namespace]
            if _carried(pod) == grant.allocation.id and made_for(grant, facts := PodFacts.of(pod))
        ]
        if any(not facts.ended for facts in carriers):
            return Verdict.KEEP
        return absent(grant, [*self.engine.world.pods.carriers(grant.allocation.id), *carriers])


def _carried(pod: JsonObject) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(names.ALLOCATION_ID, ""))
