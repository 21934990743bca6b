"""The manager's HTTP application: routes, login, and what becomes of a request before its face reads it."""

from typing import Any

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from conpaassql import httpd
from conpaassql.errors import Error, Invalid, Unauthorized, UnknownMethod, UnsupportedType
from conpaassql.manager import enrolment
from conpaassql.manager.context import Manager
from conpaassql.web import forms, install, rpc
from conpaassql.web.auth import Guard
from conpaassql.web.operations import Effect
from conpaassql.web.rpc import Answer, Call

JSON_TYPES = ("application/json", "application/json-rpc", "application/jsonrequest")
JOB_HEADER = "Conpaassql-Job"
MOST_ENROL_BYTES = 1 << 16
ENROL_WITHIN_S = 10.0


class Enrolment(msgspec.Struct, forbid_unknown_fields=True):
    """What an agent sends to join."""

    node: int
    token: str
    request: str


def app(manager: Manager, guard: Guard) -> Starlette:
    """Return the application.

    ``/`` is the JSON-RPC face, ``/enrol`` where agents join (their token is their login), ``/health``
    says that the manager runs, ``/install/`` has what new VMs install.
    """
    face = _Face(manager, guard)
    found = Starlette(
        routes=[
            Route("/", face.rpc, methods=["GET", "POST"]),
            Route("/enrol", face.enrol, methods=["POST"]),
            Route("/health", _health, methods=["GET"]),
            *install.routes(manager),
        ],
        exception_handlers={404: _no_page, 405: _wrong_verb, Exception: _broken},
    )
    found.router.redirect_slashes = False
    return found


class _Face:
    def __init__(self, manager: Manager, guard: Guard) -> None:
        self._manager = manager
        self._guard = guard
        self._most_bytes = manager.settings.manager.max_body_mib << 20

    async def rpc(self, request: Request) -> Response:
        """Read a request of either dialect and answer it."""
        try:
            self._guard.check(request)
            if request.method == "GET":
                return await self._single(rpc.read_query(request.query_params), by_get=True)
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "multipart/form-data":
                return await anyio.to_thread.run_sync(self._upload, request)
            if kind not in JSON_TYPES:
                raise UnsupportedType("Send application/json (curl: -H 'Content-Type: application/json').")
            raw = await httpd.whole_body(request, self._most_bytes)
        except Error as exc:
            return _refusal(exc, None)
        try:
            body = rpc.parse(raw)
        except Invalid as exc:
            return (
                _respond(rpc.invalid_request(exc, None, rpc.PARSE_ERROR)) if rpc.claims_strict(raw) else _refusal(exc)
            )
        if isinstance(body, list):
            return await self._batch(body)
        return await self._single(body)

    async def _single(self, body: Any, *, by_get: bool = False) -> Response:
        if rpc.is_strict(body):
            return await self._strict(body)
        try:
            call = rpc.read(body, by_get=by_get)
        except Error as exc:
            return _refusal(exc, rpc.request_id(body), reached=rpc.names_operation(body))
        return await self._performed(call)

    async def _strict(self, body: dict[str, Any]) -> Response:
        """Answer one request of JSON-RPC 2.0."""
        read = _read_strict(body)
        return await self._performed(read) if isinstance(read, Call) else _respond(read)

    async def _performed(self, call: Call) -> Response:
        if call.operation.effect is Effect.DOWNLOAD:
            return await anyio.to_thread.run_sync(self._download, call)
        return _respond(await self._answer(call))

    async def _answer(self, call: Call) -> Answer:
        if rpc.quick(call):
            return rpc.answer(call, lambda: rpc.run(self._manager, call))
        return await anyio.to_thread.run_sync(lambda: rpc.answer(call, lambda: rpc.run(self._manager, call)))

    async def _batch(self, bodies: list[Any]) -> Response:
        """Answer a batch of JSON-RPC 2.0, one after the other, in order."""
        if not bodies or len(bodies) > rpc.MOST_IN_BATCH:
            return _respond(rpc.invalid_request(Invalid(f"A batch has 1 to {rpc.MOST_IN_BATCH} requests.")))
        answers = [await self._of_batch(body) for body in bodies]
        spoken = [answer.body for answer in answers if answer.body is not None]
        return httpd.json_response(spoken) if spoken else Response(status_code=204)

    async def _of_batch(self, body: Any) -> Answer:
        if not rpc.is_strict(body) or isinstance(body, list):
            return rpc.invalid_request(Invalid('Each request of a batch is an object with "jsonrpc": "2.0".'))
        read = _read_strict(body)
        if not isinstance(read, Call):
            return read
        if read.operation.effect is Effect.DOWNLOAD:
            wrong = Invalid(f"{read.operation.name} answers with a stream; call it by itself.")
            return rpc.failure(wrong, read.id, strict=True, silent=read.silent)
        return await self._answer(read)

    def _download(self, call: Call) -> Response:
        """Answer with a stream."""
        name = f"{call.values.get('cluster', 'default')}.sql"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        found = httpd.attempt(lambda: httpd.Stream(rpc.run(self._manager, call), "application/sql", headers))
        return _respond(rpc.failure(found, call.id, strict=call.strict)) if isinstance(found, Error) else found

    def _upload(self, request: Request) -> Response:
        """Read a form whose last part is a file, and run the operation on the file as it comes."""
        body: dict[str, Any] = {}
        try:
            upload = forms.Upload(request.headers["content-type"], httpd.body_chunks(request))
            body = forms.as_request(upload.fields)
            call = rpc.read(body)
            if upload.file_field not in call.operation.files:
                wanted = " or ".join(call.operation.files) or "no file"
                raise Invalid(f"Unexpected file {upload.file_field[:64]!r}: {call.operation.name} takes {wanted}.")
        except Error as exc:
            return _refusal(exc, rpc.request_id(body), reached=rpc.names_operation(body))
        limit = self._manager.settings.manager.max_dump_mib << 20
        return _respond(rpc.answer(call, lambda: rpc.perform(self._manager, call, chunks=upload.chunks(limit))))

    async def enrol(self, request: Request) -> Response:
        """Give a VM its certificate.  Anybody may call: a thread is taken only when the request is all there."""
        try:
            body = await httpd.whole_body(request, MOST_ENROL_BYTES, ENROL_WITHIN_S)
        except Invalid as exc:
            return httpd.json_response(httpd.error_body(exc), exc.status)
        return await anyio.to_thread.run_sync(httpd.guarded(self._enrolled), body)

    def _enrolled(self, body: bytes) -> Response:
        try:
            asked = msgspec.json.decode(body, type=Enrolment)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Invalid(f"The request to join is malformed: {exc}.") from exc
        signed = enrolment.enrol(self._manager, node=asked.node, token=asked.token, request=asked.request)
        return httpd.json_response(signed)


def _respond(answer: Answer) -> Response:
    if answer.body is None:
        return Response(status_code=204)
    headers = {JOB_HEADER: str(answer.job)} if answer.job is not None else {}
    return httpd.json_response(answer.body, answer.status, headers)


def _read_strict(body: dict[str, Any]) -> Call | Answer:
    """Return the call that a request of 2.0 makes, or the answer to a wrong one."""
    try:
        rpc.check_form(body)
    except Invalid as exc:
        return rpc.invalid_request(exc, rpc.request_id(body))
    try:
        return rpc.read(body)
    except Error as exc:
        return rpc.failure(exc, rpc.request_id(body), strict=True, silent="id" not in body)


def _refusal(error: Error, id_: str | int | float | None = None, *, reached: bool = False) -> Response:
    """Answer a request that reached no method: an envelope, with the error's own status.

    Wrong parameters of a known method (``reached``) are an application error: status 200, as in 2012.
    """
    status = 200 if type(error) is Invalid and reached else error.status
    headers = {"WWW-Authenticate": 'Basic realm="conpaassql"'} if isinstance(error, Unauthorized) else {}
    return httpd.json_response(rpc.failure(error, id_, strict=False).body, status, headers)


async def _health(_request: Request) -> Response:
    return httpd.json_response({"status": "ok"})


async def _no_page(request: Request, _exc: Exception) -> Response:
    return _refusal(UnknownMethod(f"There is nothing at {request.url.path[:100]}; the calls go to /."), None)


async def _broken(_request: Request, exc: Exception) -> Response:
    return _refusal(httpd.as_error(exc))


async def _wrong_verb(_request: Request, _exc: Exception) -> Response:
    error = Invalid("Use GET to look and POST to change.")
    return httpd.json_response(rpc.failure(error, None, strict=False).body, 405)
