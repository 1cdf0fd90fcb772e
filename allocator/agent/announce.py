"""What a container's owner reads in `kubectl describe pod` when its isolation changes. Pure."""

from typing import Final

from allocator.agent.judge import Verdict
from allocator.agent.tracker import Change
from allocator.api.isolation import NOBODY, Isolation
from allocator.kube.events import NORMAL, WARNING, Note

REASONS: Final = {
    Isolation.VIOLATED: "IsolationViolated",
    Isolation.UNVERIFIED: "IsolationUnverified",
    Isolation.ISOLATED: "IsolationRestored",
}


def note(change: Change) -> Note | None:
    """The Event for a change; None where there is nothing to say, or nobody to say it to."""
    now = change.now
    namespace, _, name = now.pod.partition("/")
    if namespace == NOBODY or (now.state is Isolation.ISOLATED and change.before is None):
        return None
    return Note(
        kind="Pod",
        namespace=namespace,
        name=name,
        uid=now.uid,
        reason=REASONS[now.state],
        message=_message(now),
        level=NORMAL if now.state is Isolation.ISOLATED else WARNING,
    )


def _message(now: Verdict) -> str:
    subject = "a container" if now.container == NOBODY else f"container {now.container}"
    if now.state is Isolation.ISOLATED:
        return f"{subject}: isolated again"
    return f"{subject}: {now.reason}"
