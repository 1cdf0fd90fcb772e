"""The allocator of vramshare: vocabulary, decisions, cluster access, the node agent and the command line."""
