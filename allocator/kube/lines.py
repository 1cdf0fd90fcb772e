"""Lines out of a stream of byte chunks, of any length: a watch event may be larger than any reader's buffer."""

from collections.abc import AsyncIterator


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield each complete line without its end; blank ones and an unfinished last one are dropped."""
    parts: list[bytes] = []
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join((*parts, end)).strip()
            parts.clear()
            if line:
                yield line
        if rest:
            parts.append(rest)
