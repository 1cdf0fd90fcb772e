"""The agent's settings as people write them: one option each, in docs/settings.md's order."""

import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from allocator.agent.agent import Pace
from allocator.agent.health import QUIET
from allocator.agent.known import pattern
from allocator.agent.show import MetricsSettings
from allocator.api.inventory import Strategy
from allocator.config import Option, Options, listed, number, one_of, path, text, whole, yes_no
from allocator.shared_options import SHARED

AUTO: Final = "auto"
REPORT: Final = "report"
EVICT: Final = "evict"
REFUSE: Final = "refuse"
SHARE: Final = "share"
DEFAULT_INTERPOSER: Final = "/usr/lib/vramshare/libvramshare.so"
"""Where the agent's image has it."""
_WEEK: Final = 7 * 24 * 60


def _minutes(value: str) -> timedelta:
    return timedelta(minutes=number(0, _WEEK, "minutes")(value))


def _patterns(value: str) -> tuple[str, ...]:
    return tuple(pattern(one) for one in listed(value.replace(" ", ",")))


def _errors(value: str) -> tuple[int, ...]:
    return tuple(whole(1, 9999)(one) for one in listed(value))


_SECONDS: Final = number(0.1, 3600, "seconds")
_DECLARED: Final = (
    Option("interposer", DEFAULT_INTERPOSER, "the library as built", path, shows=f"`{DEFAULT_INTERPOSER}`"),
    Option("host-root", "/", "where the host's file system is mounted, for detection", path),
    Option("proc", "/proc", "where the host's processes are seen", path),
    Option(
        "strategy",
        AUTO,
        "how a GPU reaches a container: `env` by UUID, `cdi` by name, or as detected",
        one_of(AUTO, Strategy.ENV.value, Strategy.CDI.value),
    ),
    Option("simulate", None, "file that describes simulated GPUs to publish", path),
    Option("on-violation", REPORT, "what is done about a pod that is not isolated", one_of(REPORT, EVICT)),
    Option(
        "known",
        (),
        "pods `NAMESPACE/POD` (shell patterns) that may use GPUs without a grant, such as monitoring",
        _patterns,
        many=True,
    ),
    Option(
        "neighbours",
        REFUSE,
        "what is done with GPUs that a device plugin or a DRA driver gives out as well: use none of them, or use those "
        "that no pod has got from it",
        one_of(REFUSE, SHARE),
    ),
    Option(
        "xid-quiet",
        QUIET,
        "minutes that a GPU must have had no error before it is in use again",
        _minutes,
        shows=f"`{QUIET.total_seconds() / 60:g}`",
    ),
    Option(
        "ignore-xid",
        (),
        "errors that say nothing about the GPU, beside those of applications",
        _errors,
        many=True,
    ),
    Option("look", Pace().look, "seconds between two looks at isolation", _SECONDS),
    Option("turn", Pace().turn, "seconds between two readings of the GPUs", _SECONDS),
    Option("metrics-host", MetricsSettings().host, "address for Prometheus; `::`: all, of IPv4 too", text),
    Option("metrics-port", MetricsSettings().port, "port for Prometheus; 0: any free one", whole(0, 65535)),
    Option("hami-metrics", False, "whether metrics stand under HAMi's names too", yes_no),
)


def options(environ: Mapping[str, str]) -> Options:
    """All of them."""
    node = Option(
        "node",
        socket.gethostname(),
        "name of this Kubernetes node",
        text,
        variables=("NODE_NAME",),
        shows="the host's name",
    )
    return Options("agent", (*SHARED, node, *_DECLARED), environ)
