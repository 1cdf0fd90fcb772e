"""What must be true of a node before its GPUs are offered: interposer in place and loadable, strategy known."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from allocator import probe
from allocator.agent import interposer, strategy
from allocator.agent.interposer import InstallError
from allocator.agent.report import Preparation
from allocator.api.inventory import Strategy


@dataclass(frozen=True, slots=True)
class NodePreparation:
    """Prepares this host.

    Attributes:
        source: the interposer as built.
        host_dir: the folder that containers mount.
        version: ours, part of the installed name.
        chosen: the injection strategy by configuration; None: detect it.
        root: where the host's file system is, for the detection.
        load: tests an installed interposer; empty if it loads, else why not.
    """

    source: Path
    host_dir: Path
    version: str
    chosen: Strategy | None = None
    root: Path = Path("/")
    load: Callable[[Path], str] = probe.load

    def prepare(self) -> Preparation:
        """Install, test, detect."""
        if self.chosen is None:
            found, reason = strategy.detect(self.root)
        else:
            found, reason = self.chosen, ""
        try:
            installed = interposer.install(self.source, host_dir=self.host_dir, version=self.version)
        except InstallError as problem:
            return Preparation(installed=None, strategy=found, reason=str(problem))
        return Preparation(
            installed=installed,
            strategy=found,
            reason=self.load(installed.file) or reason,
            in_cdi=self._in_cdi(found),
        )

    def intact(self, preparation: Preparation) -> bool:
        """Whether the installed files still stand, and the CDI specs name the same GPUs."""
        return (
            preparation.installed is not None
            and interposer.in_place(preparation.installed, host_dir=self.host_dir)
            and self._in_cdi(preparation.strategy) == preparation.in_cdi
        )

    def _in_cdi(self, chosen: Strategy) -> frozenset[str] | None:
        return strategy.cdi_gpus(self.root) if chosen is Strategy.CDI else None
