"""The asynchronous side of the allocator. Its public face is what this package exports."""
