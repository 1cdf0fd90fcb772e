"""Nodes: a scheduler, kubelets and agents as far as grants are concerned, one step every half second."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from allocator.api import names
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.kube import CONFIGMAPS, LEASES, NODES, PODS
from tests.storm.api import StormApi
from tests.storm.process import START
from tests.storm.sizes import Containers
from tests.storm.trace import Trace
from tests.storm.truth import ENDED, SYSTEM, Hold, Truth, carried

STEP = 0.5
GPU_MIB = 1000
_SIGN_OF_LIFE = 5.0
_FIELDS = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass
class Pod:
    """A pod that a kubelet has taken on."""

    name: str
    namespace: str
    started: bool = False
    ends: float | None = None
    told: bool = False


@dataclass
class Machine:
    """One node.

    Attributes:
        there: whether it exists.
        silent: until when nothing of it is heard, though its containers run.
        gpus: what it has when all is well.
        inventory: what its agent publishes.
        pods: what its kubelet has taken on, by UID.
    """

    name: str
    gpus: tuple[Gpu, ...]
    inventory: Inventory
    there: bool = True
    silent: float = 0.0
    sign: float = -1e9
    pods: dict[str, Pod] = field(default_factory=dict)


class Nodes:
    """All of them.

    Attributes:
        containers: what those of running pods know of their size; None: no pod changes its size.
        lives: seconds that the containers of a pod run, by its name; None: until it is deleted.
    """

    def __init__(
        self, api: StormApi, truth: Truth, random: Random, trace: Trace, *, containers: Containers | None = None
    ) -> None:
        self._api = api
        self._truth = truth
        self._random = random
        self._trace = trace
        self.containers = containers
        self.machines: dict[str, Machine] = {}
        self.lives: dict[str, float | None] = {}

    def add(self, name: str, *, gpus: int) -> None:
        """A new node."""
        found = tuple(
            Gpu(uuid=f"GPU-{name}-{at}", index=at, model="T4", memory=Memory.mib(GPU_MIB)) for at in range(gpus)
        )
        inventory = Inventory(node=name, gpus=found, interposer=f"{names.LIBRARY_DIR}/libvramshare.so")
        self.machines[name] = Machine(name=name, gpus=found, inventory=inventory)
        self.arrive(name)

    def arrive(self, name: str) -> None:
        """A node joins, or comes back empty."""
        machine = self.machines[name]
        machine.there = True
        body = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {
                "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        self._api.put(NODES, body)
        self._publish(machine)
        self._renew(machine)

    def rejoin(self) -> None:
        """What stands in the API server is of another day: kubelets register anew, agents say what there is."""
        for name, machine in self.machines.items():
            if machine.there:
                self.arrive(name)
            elif self._api.see(NODES, name) is not None:
                self._api.drop(NODES, name)

    def lose(self, name: str) -> None:
        """A node is gone for good, with all that ran on it."""
        machine = self.machines[name]
        if machine.there:
            self._trace(name, "is lost")
            machine.there = False
            for uid in list(machine.pods):
                self._forget(machine, uid)
            self._api.drop(NODES, name)

    def publish(self, name: str, **changes: Any) -> None:
        """Its agent finds something else."""
        machine = self.machines[name]
        machine.inventory = replace(machine.inventory, **changes)
        if machine.there:
            self._publish(machine)

    def step(self) -> None:
        """Half a second of everything."""
        if self._api.down:
            return
        pods = self._truth.pods()
        for pod in pods:
            self._schedule(pod)
        now = asyncio.get_running_loop().time()
        for machine in self.machines.values():
            if machine.there and machine.silent <= now:
                self._kubelet(machine, pods)
                self._agent(machine, now)

    # --- inside ----------------------------------------------------------------------------------------------

    def _schedule(self, pod: dict) -> None:
        """Bind it to the node that it is pinned to; collect it where that node is gone."""
        spec, node = pod["spec"], pod["spec"].get("nodeName")
        if node and not self.machines[node].there and self._random.random() < 0.3:
            self._api.drop(PODS, pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])
        if node or spec.get("schedulingGates") or self._random.random() < 0.4:
            return
        pinned = pin_of(spec)
        if pinned and self.machines[pinned].there:
            self._write(pod, spec=spec | {"nodeName": pinned})

    def _kubelet(self, machine: Machine, pods: list[dict]) -> None:
        mine = {pod["metadata"]["uid"]: pod for pod in pods if pod["spec"].get("nodeName") == machine.name}
        for uid, pod in mine.items():
            if uid not in machine.pods and self._random.random() < 0.6:
                self._take_on(machine, uid, self._current(pod))
        for uid in list(machine.pods):
            if self._random.random() < 0.6:
                self._look_after(machine, uid, self._current(mine.get(uid)))

    def _take_on(self, machine: Machine, uid: str, pod: dict | None) -> None:
        if pod is None or pod["metadata"]["uid"] != uid:
            return
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if pod["metadata"].get("deletionTimestamp"):  # it has ended, or was never started
            self._api.drop(PODS, name, namespace=namespace)
        if pod["metadata"].get("deletionTimestamp") or pod["status"].get("phase") in ENDED:
            return
        key, node, slices = carried(pod)
        if node != machine.name:
            self._truth.problems.append(f"pod {name} has a grant on {node or 'no node'} and runs on {machine.name}")
        machine.pods[uid] = Pod(name=name, namespace=namespace)
        if self.containers is not None:
            self.containers.ended(uid)
        self._truth.running[uid] = Hold(node=machine.name, id=key, slices=slices)

    def _look_after(self, machine: Machine, uid: str, pod: dict | None) -> None:
        known, now = machine.pods[uid], asyncio.get_running_loop().time()
        if pod is None or pod["metadata"]["uid"] != uid:
            if self._random.random() < 0.3:  # it takes a while to notice, and to end
                self._end(machine, uid)
        elif pod["metadata"].get("deletionTimestamp"):
            self._end(machine, uid)
            self._write(pod, status=status_of(pod, "Failed", {"terminated": {}} if known.started else None))
            self._api.drop(PODS, known.name, namespace=known.namespace)
        elif not known.started:
            known.started = True
            life = self.lives.get(pod["metadata"]["name"])
            known.ends = None if life is None else now + life
            self._trace(machine.name, "starts", known.name)
            self._truth.started(uid)
        elif not known.told:
            known.told = True
            self._write(pod, status=status_of(pod, "Running", {"running": {}}))
        elif known.ends is not None and known.ends <= now:
            self._end(machine, uid)
            self._write(pod, status=status_of(pod, self._random.choice(["Succeeded", "Failed"]), {"terminated": {}}))

    def _end(self, machine: Machine, uid: str) -> None:
        self._trace(machine.name, "ends", machine.pods[uid].name)
        self._forget(machine, uid)

    def _forget(self, machine: Machine, uid: str) -> None:
        held = uid in self._held(machine)
        del machine.pods[uid]
        if not held:
            return
        del self._truth.running[uid]
        if self.containers is not None:
            self.containers.ended(uid)

    def _agent(self, machine: Machine, now: float) -> None:
        if now - machine.sign >= _SIGN_OF_LIFE:
            machine.sign = now
            self._renew(machine)
        held = set(self._held(machine).values())
        ledger = self._truth.ledger(machine.name)
        if self.containers is not None:
            self._agent_settles(machine, self.containers)
        released = frozenset(key for key, entry in ledger.items() if entry.releasing and key not in held)
        if released != machine.inventory.released and self._random.random() < 0.5:
            machine.inventory = replace(machine.inventory, released=released)
            self._publish(machine)

    def _held(self, machine: Machine) -> dict[str, str]:
        """The grants of a node's pods by UID. After a backup another node may have one of them too, granted anew."""
        holds = {uid: self._truth.running.get(uid) for uid in machine.pods}
        return {uid: hold.id for uid, hold in holds.items() if hold is not None and hold.node == machine.name}

    def _agent_settles(self, machine: Machine, containers: Containers) -> None:
        """What containers know of their size, and what of that the agent says."""
        held = self._held(machine)
        running = [uid for uid, pod in machine.pods.items() if pod.started and uid in held]
        for uid in running:
            pod = self._api.see(PODS, machine.pods[uid].name, namespace=machine.pods[uid].namespace)
            containers.look_after(uid, pod if pod is not None and pod["metadata"]["uid"] == uid else None)
        settled = containers.settled(running, self._truth.ledger(machine.name))
        if settled != machine.inventory.settled and containers.random.random() < 0.3:
            machine.inventory = replace(machine.inventory, settled=settled)
            self._publish(machine)

    def _publish(self, machine: Machine) -> None:
        inventory = machine.inventory
        self._truth.published(machine.name, {gpu.uuid: gpu.capacity.count for gpu in inventory.gpus})
        metadata = {"name": names.inventory_name(machine.name), "labels": {names.KIND_LABEL: names.KIND_INVENTORY}}
        self._api.put(CONFIGMAPS, {"metadata": metadata, "data": inventory.to_data()}, namespace=SYSTEM)

    def _renew(self, machine: Machine) -> None:
        now = START + timedelta(seconds=asyncio.get_running_loop().time())
        body = {
            "metadata": {"name": names.agent_lease_name(machine.name)},
            "spec": {"renewTime": now.isoformat().replace("+00:00", "Z"), "holderIdentity": machine.name},
        }
        self._api.put(LEASES, body, namespace=SYSTEM)

    def _current(self, pod: dict | None) -> dict | None:
        """A pod as it is by now."""
        if pod is None:
            return None
        return self._api.see(PODS, pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])

    def _write(self, pod: dict, **changes: Any) -> None:
        current = self._current(pod)
        if current is not None and current["metadata"]["uid"] == pod["metadata"]["uid"]:
            self._api.put(PODS, current | changes, namespace=current["metadata"]["namespace"])


def status_of(pod: Mapping[str, Any], phase: str, state: dict | None) -> dict:
    """A pod's status with all containers in one state; None: in none."""
    containers = pod["spec"]["containers"] if state is not None else ()
    return {"phase": phase, "containerStatuses": [{"name": one["name"], "state": state} for one in containers]}


def pin_of(spec: Mapping[str, Any]) -> str:
    """The node that a pod is pinned to; empty: none."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    for term in (affinity.get(_FIELDS) or {}).get("nodeSelectorTerms") or ():
        for field_ in term.get("matchFields") or ():
            return str(field_["values"][0])
    return ""
