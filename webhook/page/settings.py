"""What can be set about the page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The page's socket.

    Attributes:
        port: where it is served, over plain HTTP; 0: any free one; None: not at all.
        host: address to listen on. The page has no login: on loopback it is reached by `kubectl port-forward`, for
            which the API server asks who may.
        names: DNS names by which browsers may call it, beside addresses and `localhost`.
    """

    port: int | None = None
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
