"""How long a crashed container waits before it is started again. Pure: the hour is an argument.

The rule of a real kubelet: the first restart comes at once, the next after 10 s, doubled each time up to five minutes,
forgotten once the container has run for ten minutes.
"""

import dataclasses

FIRST = 10.0
LONGEST = 300.0
FORGOTTEN_AFTER = 600.0


@dataclasses.dataclass(frozen=True)
class Backoff:
    """State of one container. ``delay``: seconds that the next start has to wait; None before any failure."""

    delay: float | None = None

    def ended(self, *, started: float, finished: float) -> "Backoff":
        """Return the state after a run from ``started`` to ``finished``, in seconds."""
        if self.delay is None or finished - started >= FORGOTTEN_AFTER:
            return Backoff(delay=0.0)
        return Backoff(delay=min(self.delay * 2, LONGEST) or FIRST)


def restarts(policy: str, exit_code: int) -> bool:
    """Tell whether a container that ended with ``exit_code`` is started again under restartPolicy ``policy``."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def in_words(seconds: float) -> str:
    """Return whole seconds as Go prints a duration: ``10s``, ``1m20s``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
