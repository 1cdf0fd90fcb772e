"""Tables: what `kubectl get` prints, computed by the server as real ones do."""

from devcluster.apiserver.resources import Resource
from devcluster.apiserver.tables import nodes, others, pods, workloads
from devcluster.apiserver.tables.base import Printer, definitions

__all__ = ["Printer", "definitions", "printer_of"]
_PRINTERS = {"/pods": pods.PRINTER, "/nodes": nodes.PRINTER, **workloads.PRINTERS, **others.PRINTERS}


def printer_of(resource: Resource) -> Printer:
    """The kind's printer, or the plain one: name and age."""
    return _PRINTERS.get(resource.storage, others.PLAIN)
