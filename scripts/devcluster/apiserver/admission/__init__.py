"""Admission: the in-tree plugins that matter here, and webhooks."""

from devcluster.apiserver.admission.chain import Chain

__all__ = ["Chain"]
