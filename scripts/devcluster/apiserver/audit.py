"""The audit log: one line of JSON per write, with what webhooks wanted noted."""

import traceback
from pathlib import Path
from typing import Any

import orjson

from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import new_uid

Json = dict[str, Any]


class AuditLog:
    """Appends to one file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def record(self, call: Call, verb: str, *, code: int, uri: str, time: str) -> None:
        """Write down one write and its answer."""
        target = call.target
        reference = {
            "resource": target.resource.plural,
            "namespace": target.namespace,
            "name": target.name,
            "apiGroup": target.resource.group,
            "apiVersion": target.resource.version,
            "subresource": target.subresource.name if target.subresource else "",
        }
        self._write(
            {
                "kind": "Event",
                "apiVersion": "audit.k8s.io/v1",
                "level": "Metadata",
                "auditID": new_uid(),
                "stage": "ResponseComplete",
                "requestURI": uri,
                "verb": verb,
                "user": call.user.as_json(),
                "userAgent": call.headers.get("User-Agent", ""),
                "objectRef": {key: value for key, value in reference.items() if value},
                "responseStatus": {"metadata": {}, "code": code},
                "stageTimestamp": time,
                "annotations": call.audit,
            }
        )

    def crash(self, method: str, uri: str, error: Exception) -> None:
        """Write down an error of the server itself."""
        trace = traceback.format_exception(error)
        self._write({"kind": "Panic", "method": method, "requestURI": uri, "traceback": "".join(trace)})

    def _write(self, line: Json) -> None:
        if not self._file.closed:
            self._file.write(orjson.dumps(line) + b"\n")
            self._file.flush()
