"""What something happened to, gathered until somebody looks."""

import asyncio


class Touched:
    """Keys of one kind, such as grants' ids. Whoever looks takes all that came meanwhile."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, *keys: str) -> None:
        """Something happened to these; of none at all nobody is woken."""
        if keys:
            self._keys.update(keys)
            self._wake.set()

    async def wait(self) -> None:
        """Until there is something to look at."""
        await self._wake.wait()

    def take(self) -> set[str]:
        """All that was touched; it counts as looked at."""
        self._wake.clear()
        taken, self._keys = self._keys, set()
        return taken
