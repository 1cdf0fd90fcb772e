"""Decisions: pure functions and values, with no I/O and no clock of their own."""
