"""HTTP in front of the machine: who asks, what for, and the answer in the form that was asked for."""

import asyncio
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

import orjson
import yaml
from aiohttp import hdrs, web

from devcluster.apiserver import discovery, negotiate, openapi, rbac, status, views
from devcluster.apiserver.audit import AuditLog
from devcluster.apiserver.call import Call, User, parse_target, verb_of
from devcluster.apiserver.identity import Tokens, bearer
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.negotiate import Accept
from devcluster.apiserver.rest import changing, creating, deleting, reading, reviews, subresources
from devcluster.apiserver.store import Entry
from devcluster.apiserver.watch import Watch

Json = dict[str, Any]
BODY_LIMIT = 3 * 1024 * 1024
_OPEN_PATHS = {"/healthz", "/livez", "/readyz", "/version"}
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}


class LogSource(Protocol):
    """The part of the server that knows where containers are."""

    pod_logs: Any
    pod_exec: Any


class Front:
    """The request handler."""

    def __init__(
        self, machine: Machine, tokens: Tokens, *, audit: Path, logs: LogSource, enforce_rbac: bool = False
    ) -> None:
        self._machine = machine
        self._enforce_rbac = enforce_rbac
        self._tokens = tokens
        self._audit = AuditLog(audit)
        self._logs = logs
        self._streams: set[asyncio.Task[Any]] = set()
        self.address = ""

    def close(self) -> None:
        """End open watches and the audit log."""
        for task in self._streams:
            task.cancel()
        self._audit.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request."""
        try:
            return await self._route(request)
        except status.ApiError as error:
            headers = {"Retry-After": "1"} if error.code in {429, 504} else None
            return _json_response(error.as_json(), code=error.code, headers=headers)
        except web.HTTPRequestEntityTooLarge:
            return _json_response(status.too_large(BODY_LIMIT).as_json(), code=413)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was: the server answers 500 and lives on
            self._audit.crash(request.method, request.path_qs, error)
            return _json_response(status.internal(f"{type(error).__name__}: {error}").as_json(), code=500)

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        user = self._tokens.user(
            bearer(request.headers.get(hdrs.AUTHORIZATION, "")), now=self._machine.clock().astimezone(UTC)
        )
        if user is None and path not in _OPEN_PATHS:
            raise status.unauthorized()
        answer = self._plain(request, path)
        if answer is not None:
            return answer
        return await self._resource(request, user or User("system:anonymous"))

    def _plain(self, request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        """Paths that are no resources: health, version, discovery, OpenAPI."""
        if path in {"/healthz", "/livez", "/readyz"} or path.startswith(("/livez/", "/readyz/")):
            return web.Response(text="ok")
        if path == "/version":
            return _json_response(discovery.VERSION)
        if path.startswith("/openapi/"):
            return openapi.answer(self._machine.schema, path, request.headers.get(hdrs.ACCEPT, ""))
        found = discovery.answer(path.rstrip("/"), request.headers.get(hdrs.ACCEPT, ""), address=self.address)
        if found is None:
            return None
        body, content_type = found
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def _resource(self, request: web.BaseRequest, user: User) -> web.StreamResponse:
        target = parse_target(request.path)
        query = request.query
        watching = query.get("watch", "").lower() in {"1", "true", "t"}
        verb = verb_of(request.method, target, watching=watching)
        sub = target.subresource.name if target.subresource else ""
        accept = Accept() if sub in {"exec", "log"} else negotiate.accept(request.headers.get(hdrs.ACCEPT, ""))
        body = await request.read() if request.body_exists else b""
        call = Call(request.method, target, query, request.headers, body, user)
        if self._enforce_rbac:
            self._authorise(call, verb, uri=request.path_qs)
        if verb == "watch":
            return await self._watch(request, call, accept)
        if sub in {"exec", "log"}:
            return await (self._log if sub == "log" else self._exec)(request, call)
        if verb not in _WRITES:
            return self._read(call, verb, accept)
        return await self._write(request, call, verb, accept)

    def _authorise(self, call: Call, verb: str, *, uri: str) -> None:
        """Refuse what no role allows. Reads of service accounts are in the audit log, too, where roles count.

        Raises:
            ApiError: 403.
        """
        try:
            rbac.check(call, verb, self._machine)
        except status.ApiError as error:
            self._audit.record(call, verb, code=error.code, uri=uri, time=self._machine.now())
            raise
        if verb not in _WRITES and call.user.username.startswith("system:serviceaccount:"):
            self._audit.record(call, verb, code=200, uri=uri, time=self._machine.now())

    def _read(self, call: Call, verb: str, accept: Accept) -> web.StreamResponse:
        if verb == "list":
            listing = reading.list_objects(call, self._machine)
            if accept.view:
                body = views.of_list(call, accept, listing, self._machine)
            else:
                body = reading.encode_list(call.resource, listing)
            return _encoded(body, accept, call)
        if call.target.subresource is not None:
            return _entry_response(subresources.get(call, self._machine), 200, accept, call, self._machine)
        return _entry_response(reading.get(call, self._machine), 200, accept, call, self._machine)

    async def _write(self, request: web.BaseRequest, call: Call, verb: str, accept: Accept) -> web.StreamResponse:
        try:
            code, result = await self._perform(call, verb)
        except status.ApiError as error:
            self._audit.record(call, verb, code=error.code, uri=request.path_qs, time=self._machine.now())
            raise
        self._audit.record(call, verb, code=code, uri=request.path_qs, time=self._machine.now())
        if isinstance(result, reading.Listing):
            return _encoded(reading.encode_list(call.resource, result), accept, call)
        if isinstance(result, Entry):
            return _entry_response(result, code, accept, call, self._machine)
        return _encoded(orjson.dumps(result), accept, call, code=code)

    async def _perform(self, call: Call, verb: str) -> tuple[int, Entry | Json | reading.Listing]:
        machine, target = self._machine, call.target
        if not target.resource.stored:
            return 201, await reviews.create(call, machine, self._tokens)
        if target.subresource is not None:
            return await subresources.write(call, machine, verb, self._tokens)
        if verb == "create":
            return 201, reading.shown(call.resource, await creating.create(call, machine))
        if verb in {"update", "patch"}:
            entry, created = await (changing.update if verb == "update" else changing.patch)(call, machine)
            return (201 if created else 200), reading.shown(call.resource, entry)
        if verb == "delete":
            return await deleting.delete(call, machine)
        return 200, await deleting.delete_collection(call, machine)

    async def _watch(self, request: web.BaseRequest, call: Call, accept: Accept) -> web.StreamResponse:
        watch = Watch(call, self._machine, show=views.shower(call, accept, self._machine))
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
        try:
            response = web.StreamResponse(
                headers={hdrs.CONTENT_TYPE: "application/json", "Cache-Control": "no-cache, private"}
            )
            response.enable_chunked_encoding()
            await response.prepare(request)
            async for chunk in watch.lines():
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            pass  # the client left
        finally:
            watch.close()
            if task is not None:
                self._streams.discard(task)
        return response

    async def _exec(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """A command in a container, over the WebSocket that the client asks for."""
        if self._logs.pod_exec is None:
            raise status.no_such_path()
        place = subresources.container_place(call, self._machine)
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
        try:
            session: web.StreamResponse = await self._logs.pod_exec(request, **place, query=request.query)
        except LookupError as error:
            raise status.bad_request(str(error.args[0] if error.args else error)) from error
        finally:
            if task is not None:
                self._streams.discard(task)
        return session

    async def _log(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        chunks = subresources.log(call, self._machine, self._logs.pod_logs)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/plain"})
        try:
            first = await anext(chunks, b"")  # an error here is still an ordinary answer
        except LookupError as error:
            raise status.bad_request(str(error.args[0] if error.args else error)) from error
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
        try:
            response.enable_chunked_encoding()
            await response.prepare(request)
            if first:
                await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            pass  # the client left
        finally:
            await chunks.aclose()
            if task is not None:
                self._streams.discard(task)
        return response


def _json_response(obj: Any, *, code: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    everything = {hdrs.CONTENT_TYPE: "application/json", "Cache-Control": "no-cache, private", **(headers or {})}
    return web.Response(body=orjson.dumps(obj), status=code, headers=everything)


def _entry_response(entry: Entry, code: int, accept: Accept, call: Call, machine: Machine) -> web.Response:
    body = views.of_object(call, accept, entry, machine) if accept.view else entry.data
    return _encoded(body, accept, call, code=code)


def _encoded(body: bytes, accept: Accept, call: Call, *, code: int = 200) -> web.Response:
    """JSON, or YAML or indented JSON where asked for; warnings as headers."""
    content_type = "application/json"
    if accept.yaml:
        body, content_type = yaml.safe_dump(orjson.loads(body), sort_keys=True).encode(), "application/yaml"
    elif call.flag("pretty"):
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    response = web.Response(body=body, status=code)
    response.headers[hdrs.CONTENT_TYPE] = content_type
    response.headers["Cache-Control"] = "no-cache, private"
    for text in dict.fromkeys(call.warnings):
        if text.isprintable():  # a real API server sends no warning with control characters either
            response.headers.add("Warning", f"299 - {_quoted(text)}")
    return response


def _quoted(text: str) -> str:
    """A quoted string of HTTP: only quotes and backslashes are escaped, all else stays UTF-8."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
