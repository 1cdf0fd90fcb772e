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
        revision: that of the slice in its allocation file.
    """

    allocation: str
    container: str
    uuid: str
    memory: Memory
    cores: int = 0
    revision: int = 0

    def line(self) -> str:
        """As it stands in the inventory."""
        size = f"memory={self.memory.count} cores={self.cores}"
        return f"{self.allocation} {self.container} {self.uuid} {size} rev={self.revision}"


def settled_of(text: str) -> tuple[Settled, ...]:
    """Read the key `settled`, in its order. A line that cannot be read confirms nothing and is passed over."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        values = dict(word.split("=", 1) for word in words[3:] if "=" in word)
        try:
            memory, cores, revision = Memory.parse(values["memory"]), int(values["cores"]), int(values["rev"])
        except (KeyError, ValueError, QuantityError):
            continue
        allocation, container, uuid = words[:3]
        found.append(Settled(allocation, container, uuid=uuid, memory=memory, cores=cores, revision=revision))
    return tuple(found)
