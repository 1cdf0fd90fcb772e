"""The vocabulary: names, quantities and wire formats that every part of vramshare shares.

Nothing here does I/O or imports anything outside the standard library, so that the webhook, the allocator,
the agent and the tests all speak of the same things in the same words. Each format has its one encoder and
its one decoder here.
"""
