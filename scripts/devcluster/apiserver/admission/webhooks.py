"""Mutating webhooks one after the other, validating ones together."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from devcluster.apiserver import codec, expressions, patching, status
from devcluster.apiserver.admission import matching, review
from devcluster.apiserver.admission.caller import Caller
from devcluster.apiserver.admission.review import ReviewError, Verdict
from devcluster.apiserver.expressions import CelError
from devcluster.apiserver.machine import Attributes, Machine, new_uid

Json = dict[str, Any]
Key = tuple[str, str]  # configuration and webhook
_MUTATING = "admissionregistration.k8s.io/mutatingwebhookconfigurations"
_VALIDATING = "admissionregistration.k8s.io/validatingwebhookconfigurations"


@dataclass(slots=True)
class Reinvocation:
    """What one write's first round left to do for the second."""

    second_round: bool = False
    again: bool = False
    invoked: set[Key] = field(default_factory=set)  # webhooks that ask to be called again on changes
    due: set[Key] = field(default_factory=set)
    last_output: bytes = b""

    def changed(self) -> None:
        """The object changed: those called before are due again."""
        self.due |= self.invoked
        self.invoked.clear()


class Webhooks:
    """The two webhook plugins."""

    def __init__(self, machine: Machine, caller: Caller) -> None:
        self._machine = machine
        self._caller = caller

    def _hooks(self, storage: str, attributes: Attributes) -> list[tuple[Key, Json]]:
        """The webhooks that the write concerns, in calling order."""
        collection = self._machine.store.collection(storage)
        if not collection.count(""):
            return []
        return [
            ((entry.name, hook["name"]), hook)
            for entry in collection.entries("")
            for hook in entry.obj.get("webhooks") or ()
            if matching.concerns(hook, attributes, self._machine)
        ]

    async def mutate(self, attributes: Attributes, context: Reinvocation) -> None:
        """Call mutating webhooks; in a second round only those that are due again.

        Raises:
            ApiError: a denial, or a failure of a webhook that must not fail.
        """
        hooks = self._hooks(_MUTATING, attributes)
        if not hooks:
            return
        if context.second_round and orjson.dumps(attributes.obj) != context.last_output:
            context.changed()
        for index, (key, hook) in enumerate(hooks):
            if context.second_round and key not in context.due:
                continue
            if not matching.concerns(hook, attributes, self._machine):
                continue
            changed = await self._mutate_once(key, hook, attributes, round_and_index=(int(context.second_round), index))
            if changed:
                context.changed()
                context.again = True
            if hook.get("reinvocationPolicy") == "IfNeeded":
                context.invoked.add(key)
        context.last_output = orjson.dumps(attributes.obj)

    async def _mutate_once(
        self, key: Key, hook: Json, attributes: Attributes, *, round_and_index: tuple[int, int]
    ) -> bool:
        verdict = await self._ask(hook, attributes)
        mutated = False
        if verdict is not None and verdict.patch and attributes.obj is not None:
            mutated = self._apply(verdict, hook, attributes)
        if verdict is not None:
            number, index = round_and_index
            note = orjson.dumps({"configuration": key[0], "webhook": key[1], "mutated": mutated}).decode()
            attributes.audit[f"mutation.webhook.admission.k8s.io/round_{number}_index_{index}"] = note
        return mutated

    def _apply(self, verdict: Verdict, hook: Json, attributes: Attributes) -> bool:
        before = orjson.dumps(attributes.obj)
        try:
            patched = patching.json_patch(orjson.loads(before), verdict.patch)
        except patching.PatchError as error:
            raise status.internal(f'the patch of webhook "{hook["name"]}" does not apply: {error}') from error
        if attributes.sub in {"", "status"}:
            patched = codec.retyped(patched, attributes.resource, self._machine)
        attributes.obj = patched
        return bool(orjson.dumps(patched) != before)

    async def validate(self, attributes: Attributes) -> None:
        """Ask all validating webhooks at once; the first denial in their order counts.

        Raises:
            ApiError: a denial, or a failure of a webhook that must not fail.
        """
        hooks = self._hooks(_VALIDATING, attributes)
        if not hooks:
            return
        results = await asyncio.gather(*(self._ask(hook, attributes) for _, hook in hooks), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _conditions_hold(self, hook: Json, attributes: Attributes) -> bool:
        """Do its match conditions want it to be asked?

        Raises:
            ReviewError: one of them fails.
        """
        conditions = hook.get("matchConditions")
        if not conditions:
            return True
        try:
            return expressions.all_hold(conditions, review.values_of(attributes, self._machine))
        except CelError as error:
            raise ReviewError(f"matchConditions: {error}") from error

    async def _ask(self, hook: Json, attributes: Attributes) -> Verdict | None:
        """One call. None: it failed, and may.

        Raises:
            ApiError: denied, or failed and may not.
        """
        name, uid = hook["name"], new_uid()
        try:
            if not self._conditions_hold(hook, attributes):
                return None
            verdict = review.answer(await self._caller.post(hook, review.question(attributes, uid)), uid)
        except ReviewError as error:
            if hook.get("failurePolicy") == "Ignore":
                attributes.audit[f"failed-open.{name}"] = str(error)
                return None
            raise status.internal(f'failed calling webhook "{name}": {error}') from error
        attributes.warnings.extend(text for text in verdict.warnings if text not in attributes.warnings)
        for key, value in verdict.audit.items():
            attributes.audit[f"{name}/{key}"] = value
        if not verdict.allowed:
            raise review.denial(name, verdict)
        return verdict
