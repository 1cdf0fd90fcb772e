"""What an agent says of slices that were made smaller: the inventory's key `settled`, a line per slice."""

from dataclasses import dataclass

from allocator.api.quantities import Memory, QuantityError


@dataclass(frozen=True, slots=True, order=True)
class Settled:
    """A container knows the smaller size of a slice, and keeps within it.

    Attributes:
        allocation: the grant's id.
        container: its name.
        uuid: the GPU.
        memory: the size that it knows.
        cores: its GPU time in percent of the GPU; 0: no cap.
    """

    allocation: str
    container: str
    uuid: str
    memory: Memory
    cores: int = 0

    def line(self) -> str:
        """As it stands in the inventory."""
        return f"{self.allocation} {self.container} {self.uuid} memory={self.memory.count} cores={self.cores}"


def settled_of(text: str) -> tuple[Settled, ...]:
    """Read the key `settled`, in its order. A line that cannot be read confirms nothing and is passed over."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        values = dict(word.split("=", 1) for word in words[3:] if "=" in word)
        try:
            memory, cores = Memory.parse(values["memory"]), int(values["cores"])
        except (KeyError, ValueError, QuantityError):
            continue
        found.append(Settled(allocation=words[0], container=words[1], uuid=words[2], memory=memory, cores=cores))
    return tuple(found)
