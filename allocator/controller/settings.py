"""Everything about the allocator that can be set."""

import os
import socket
from dataclasses import dataclass, field
from enum import StrEnum

from allocator.api import names
from allocator.core.filters import Toleration
from allocator.kube import KubeSettings, WatchSettings


def _identity() -> str:
    """Unlike any other process's: host and process id; in a pod the host name is the pod's."""
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    """Who does what only one replica may do: give back, serve the queue, write Events.

    Attributes:
        candidate: whether this replica may lead at all.
        lease: name of the Lease.
        duration: seconds after which an unrenewed Lease may be taken over.
        renew_within: seconds after a renewal for which this replica acts as leader; less than `duration`.
        retry: seconds between attempts to renew or to take over.
    """

    candidate: bool = True
    lease: str = "vramshare-leader"
    duration: int = 15
    renew_within: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How the life signs of node agents are judged.

    Attributes:
        max_age: seconds without renewal after which an agent's node takes no new grants.
        may_be_absent: whether a node without any agent Lease takes grants, for clusters whose inventories are
            written by other means.
    """

    max_age: float = 60.0
    may_be_absent: bool = False


@dataclass(frozen=True, slots=True)
class CommitSettings:
    """How grants reach the ledgers.

    Attributes:
        patience: seconds that one grant may take, all attempts together; less than a webhook's time-out.
        attempts: how often one grant is planned anew after other replicas were faster.
        company: seconds that a ledger write waits for further grants at most, if any ledger was written so
            recently that this looks like a burst; it waits as long as the last write took. Grants that arrive
            during a write go into the next in any case.
        burst: seconds between two writes of this replica up to which they look like one.
        lazy: seconds that marks of seen pods wait for a grant to ride with.
    """

    patience: float = 1.7
    attempts: int = 16
    company: float = 0.03
    burst: float = 0.1
    lazy: float = 3.0


@dataclass(frozen=True, slots=True)
class GiveBackSettings:
    """When grants without a pod are given back.

    Attributes:
        request_limit: seconds that a create request may take at the API server (its --request-timeout).
        grace: seconds that a pod may take to appear; more than `request_limit`.
        sweep: seconds between looks at all grants; changes of pods are acted on at once.
        agent_slow: seconds for which a grant may wait for its node's agent before an Event says so. Nothing else
            follows from it: the grant counts until the agent confirms or the node is gone.
    """

    request_limit: float = 60.0
    grace: float = 90.0
    sweep: float = 15.0
    agent_slow: float = 60.0


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How the queue is served.

    Attributes:
        settle: seconds between two rounds at least, so that a burst of changes makes one round.
        retell: seconds between two updates of one pod's reason. Where many wait it takes longer: `tells_per_second`.
        retry: seconds between rounds with nothing new while pods wait.
        tells_per_second: how many reasons are updated in the long run, over all waiting pods.
        at_once: requests to the API server under way at a time, for granted pods and for reasons each.
        reserve_after: seconds that a pod waits before room is kept for it.
        reservations: for how many pods room is kept at a time; of each namespace the first pod, or group, that has
            waited so long.
        refused_again: seconds before a pod that refused its grant is offered one again, though nothing changed.
        preempt: whether pods of lower priority are evicted for one that fits nowhere.
        spare: seconds for which a pod that a disruption budget protected is not asked to go again.
    """

    settle: float = 0.1
    retell: float = 15.0
    retry: float = 30.0
    tells_per_second: float = 20.0
    at_once: int = 16
    reserve_after: float = 60.0
    reservations: int = 8
    refused_again: float = 60.0
    preempt: bool = False
    spare: float = 60.0


@dataclass(frozen=True, slots=True)
class UnseenSettings:
    """How much a namespace may be granted at admission before its pods appear; the rest passes the queue.

    A pod that is refused after its admission, by a quota or a policy, leaves a grant behind until the grace has
    passed. That a namespace which makes many of them takes from itself alone is what these limits are for. A pod
    appears within a tenth of a second, so a burst of hundreds of good pods hardly meets them, and what does is placed
    by the queue a moment later.

    Attributes:
        most: grants without a pod that a namespace may have.
        per_gpu: how many more for each GPU of the cluster: where there is much room, many may be on their way.
        share: of all GPUs, how much its grants without a pod may hold before the next one has to wait; 0 to 1.
        strikes: grants whose pods never came, within `remember`, after which a namespace passes the queue with all
            its pods, which costs the others nothing.
        remember: seconds.
        opted_in: whether namespaces that are not known to have opted in pass the queue with all their pods. For
            where the allocator does not know who asks: namespaces can be invented, pods cannot.
    """

    most: int = 32
    per_gpu: float = 1.0
    share: float = 0.25
    strikes: int = 3
    remember: float = 1800.0
    opted_in: bool = False


class OverQuota(StrEnum):
    """What happens to a pod beyond its namespace's quota."""

    WAIT = "wait"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class EvictionSettings:
    """How pods are asked to go that agents found outside their wall.

    Attributes:
        retry: seconds after which one is asked again that a disruption budget kept.
    """

    retry: float = 15.0


@dataclass(frozen=True, slots=True)
class BindSettings:
    """What becomes of granted pods that get no node.

    Attributes:
        patience: seconds without a node after which a granted pod gets an Event and, if a controller owns it, goes.
        look: seconds between two looks.
        pause: seconds between two such evictions of one owner's pods; doubles each time.
        longest: seconds to which that pause grows. It begins anew when the owner had none for twice as long.
    """

    patience: float = 60.0
    look: float = 5.0
    pause: float = 60.0
    longest: float = 960.0


@dataclass(frozen=True, slots=True)
class AllocatorSettings:
    """All of it.

    Attributes:
        kube: where the API server is.
        namespace: where inventories, ledgers and Leases live.
        identity: this replica; must differ from every other's.
        stale_after: seconds without contact to the API server after which the allocator is not ready.
        start_within: seconds for the first look at the cluster; None: without end.
        runtime_class: RuntimeClass that the webhook gives to pods without one; empty: none.
        tolerations: what the webhook adds to granted pods.
        events_per_second: how many Events are written in the long run.
        events_burst: how many Events may be written at once after a quiet time.
        hami_metrics: whether the metrics stand under HAMi's names too.
        watch: how to watch.
        leader: leadership.
        agents: judging node agents.
        commit: writing grants.
        give_back: giving grants back.
        queue: serving the queue.
        evictions: serving agents.
        bind: granted pods that get no node.
        unseen: granting at admission.
        over_quota: what happens to a pod beyond its namespace's quota.
    """

    kube: KubeSettings = field(default_factory=KubeSettings)
    namespace: str = names.DEFAULT_NAMESPACE
    identity: str = field(default_factory=_identity)
    stale_after: float = 60.0
    start_within: float | None = None
    runtime_class: str = ""
    tolerations: tuple[Toleration, ...] = (Toleration(key=names.GPU_TAINT, operator="Exists", effect="NoSchedule"),)
    events_per_second: float = 5.0
    events_burst: int = 25
    hami_metrics: bool = False
    watch: WatchSettings = field(default_factory=WatchSettings)
    leader: LeaderSettings = field(default_factory=LeaderSettings)
    agents: AgentSettings = field(default_factory=AgentSettings)
    commit: CommitSettings = field(default_factory=CommitSettings)
    give_back: GiveBackSettings = field(default_factory=GiveBackSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    evictions: EvictionSettings = field(default_factory=EvictionSettings)
    bind: BindSettings = field(default_factory=BindSettings)
    unseen: UnseenSettings = field(default_factory=UnseenSettings)
    over_quota: OverQuota = OverQuota.WAIT
