"""The `vramshare` command."""
