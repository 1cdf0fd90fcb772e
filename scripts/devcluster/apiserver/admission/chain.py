"""The chain of plugins: in-tree first, webhooks after, once more when a webhook changed the object."""

from devcluster.apiserver.admission import lifecycle, limits, pods, policies, quota, security
from devcluster.apiserver.admission.caller import Caller
from devcluster.apiserver.admission.webhooks import Reinvocation, Webhooks
from devcluster.apiserver.machine import Attributes, Machine


class Chain:
    """Admission as a real server is set up by default, less what nothing here needs."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._caller = Caller(machine)
        self._webhooks = Webhooks(machine, self._caller)

    async def mutate(self, attributes: Attributes) -> None:
        """Run in-tree plugins and mutating webhooks; again in-tree plugins and those webhooks that ask for it.

        Raises:
            ApiError: refused.
        """
        context = Reinvocation()
        self._in_tree(attributes)
        await self._webhooks.mutate(attributes, context)
        if context.again:
            context.second_round = True
            self._in_tree(attributes)
            await self._webhooks.mutate(attributes, context)

    def _in_tree(self, attributes: Attributes) -> None:
        machine = self._machine
        lifecycle.check(attributes, machine)
        if attributes.resource.storage == "/pods" and not attributes.sub and attributes.obj is not None:
            if attributes.operation == "CREATE":
                limits.set_defaults(attributes, machine)
                pods.service_account(attributes, machine)
                pods.priority(attributes, machine)
            pods.tolerations(attributes.obj)
            if attributes.operation == "CREATE":
                pods.runtime_class(attributes, machine)

    async def validate(self, attributes: Attributes) -> None:
        """Check limits and policies, ask validating webhooks, count quotas last.

        Raises:
            ApiError: refused.
        """
        machine = self._machine
        new_pod = attributes.resource.storage == "/pods" and attributes.operation == "CREATE" and not attributes.sub
        if new_pod:
            limits.check(attributes, machine)
            security.check(attributes, machine)
        policies.check(attributes, machine)
        await self._webhooks.validate(attributes)
        if attributes.operation == "CREATE" and not attributes.sub:
            quota.check(attributes, machine)

    async def close(self) -> None:
        """Close connections to webhooks."""
        await self._caller.close()
