"""A small Kubernetes API server: enough machinery for kubectl, client libraries and admission webhooks.

It exists for the demo and the tests. Where it differs from a real server, it is wrong.
"""

from devcluster.apiserver.server import ApiServer, PodLogs

__all__ = ["ApiServer", "PodLogs"]
