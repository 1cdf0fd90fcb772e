"""The scheduler: binds pods to nodes, and says why it cannot."""

from devcluster.scheduler.loop import Scheduler

__all__ = ["Scheduler"]
