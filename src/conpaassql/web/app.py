"""The manager's HTTP application: routes, login, and what becomes of a request before its face reads it."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from conpaassql import httpd
from conpaassql.errors import Error, Invalid, Unauthorized, UnknownMethod, UnsupportedType
from conpaassql.manager import enrolment
from conpaassql.manager.context import Manager
from conpaassql.web import forms, rpc
from conpaassql.web.auth import Guard
from conpaassql.web.operations import Effect
from conpaassql.web.rpc import Answer, Call

JSON_TYPES = ("application/json", "application/json-rpc", "application/jsonrequest")
JOB_HEADER = "Conpaassql-Job"
MOST_ENROL_BYTES = 1 << 16


class Enrolment(msgspec.Struct, forbid_unknown_fields=True):
    """What an agent sends to join."""

    node: int
    token: str
    request: str


def app(manager: Manager, guard: Guard) -> Starlette:
    """Return the application.

    ``/`` is the JSON-RPC face, ``/enrol`` where agents join (their token is their login), ``/health``
    says that the manager runs.
    """
    face = _Face(manager, guard)
    return Starlette(
        routes=[
            Route("/", face.rpc, methods=["GET", "POST"]),
            Route("/enrol", httpd.guarded(face.enrol), methods=["POST"]),
            Route("/health", _health, methods=["GET"]),
        ],
        exception_handlers={404: _no_page, 405: _wrong_verb},
    )


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
            body = rpc.parse(await httpd.whole_body(request, self._most_bytes))
        except Error as exc:
            return _refusal(exc, None)
        if isinstance(body, list):
            return await self._batch(body)
        return await self._single(body)

    async def _single(self, body: Any, *, by_get: bool = False) -> Response:
        strict = rpc.is_strict(body)
        try:
            call = rpc.read(body, by_get=by_get)
        except Error as exc:
            id_ = rpc.request_id(body)
            if strict:
                return _respond(rpc.failure(exc, id_, strict=True, silent=isinstance(body, dict) and "id" not in body))
            return _refusal(exc, id_)
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
            wrong = Invalid(f"A batch has 1 to {rpc.MOST_IN_BATCH} requests.")
            return _respond(_invalid_request(wrong))
        answers = [await self._of_batch(body) for body in bodies]
        spoken = [answer.body for answer in answers if answer.body is not None]
        return httpd.json_response(spoken) if spoken else Response(status_code=204)

    async def _of_batch(self, body: Any) -> Answer:
        if not rpc.is_strict(body) or isinstance(body, list):
            return _invalid_request(Invalid('Each request of a batch is an object with "jsonrpc": "2.0".'))
        try:
            call = rpc.read(body)
            if call.operation.effect is Effect.DOWNLOAD:
                raise Invalid(f"{call.operation.name} answers with a stream; call it by itself.")
        except Error as exc:
            return rpc.failure(exc, rpc.request_id(body), strict=True, silent="id" not in body)
        return await self._answer(call)

    def _download(self, call: Call) -> Response:
        """Answer with a stream; what goes wrong before its first byte is still a proper answer."""
        stream: Iterator[bytes] = call.operation.call(self._manager, **call.values)
        try:
            first = next(stream, b"")
        except Exception as exc:  # noqa: BLE001
            return _respond(rpc.failure(httpd.as_error(exc), call.id, strict=call.strict))
        name = f"{call.values.get('cluster', 'default')}.sql"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(chain((first,), stream), media_type="application/sql", headers=headers)

    def _upload(self, request: Request) -> Response:
        """Read a form whose last part is a file, and run the operation on the file as it comes."""
        id_: str | int | float | None = None
        try:
            upload = forms.Upload(request.headers["content-type"], httpd.body_chunks(request))
            body = forms.as_request(upload.fields)
            id_ = body["id"]
            call = rpc.read(body)
            if upload.file_field not in call.operation.files:
                wanted = " or ".join(call.operation.files) or "no file"
                raise Invalid(f"Unexpected file {upload.file_field[:64]!r}: {call.operation.name} takes {wanted}.")
        except Exception as exc:  # noqa: BLE001
            return _refusal(httpd.as_error(exc), id_)
        limit = self._manager.settings.manager.max_dump_mib << 20
        return _respond(
            rpc.answer(call, lambda: call.operation.call(self._manager, **call.values, chunks=upload.chunks(limit)))
        )

    def enrol(self, request: Request) -> Response:
        """Give a VM its certificate."""
        body = bytearray()
        for chunk in httpd.body_chunks(request):
            body += chunk
            httpd.check_size(len(body), MOST_ENROL_BYTES)
        try:
            asked = msgspec.json.decode(bytes(body), type=Enrolment)
        except (msgspec.DecodeError, msgspec.ValidationError) as exc:
            raise Invalid(f"The request to join is malformed: {exc}.") from exc
        signed = enrolment.enrol(self._manager, node=asked.node, token=asked.token, request=asked.request)
        return httpd.json_response(signed)


def _respond(answer: Answer) -> Response:
    if answer.body is None:
        return Response(status_code=204)
    headers = {JOB_HEADER: str(answer.job)} if answer.job is not None else {}
    return httpd.json_response(answer.body, answer.status, headers)


def _refusal(error: Error, id_: str | int | float | None) -> Response:
    """Answer a request that reached no method: an envelope, with the error's own status.

    Wrong parameters of a known method are an application error: status 200, as in 2012.
    """
    status = 200 if type(error) is Invalid and id_ is not None else error.status
    headers = {"WWW-Authenticate": 'Basic realm="conpaassql"'} if isinstance(error, Unauthorized) else {}
    return httpd.json_response(rpc.failure(error, id_, strict=False).body, status, headers)


def _invalid_request(error: Error) -> Answer:
    body = rpc.failure(error, None, strict=True).body
    body["error"]["code"] = rpc.INVALID_REQUEST
    return Answer(body=body)


async def _health(_request: Request) -> Response:
    return httpd.json_response({"status": "ok"})


async def _no_page(request: Request, _exc: Exception) -> Response:
    return _refusal(UnknownMethod(f"There is nothing at {request.url.path[:100]}; the calls go to /."), None)


async def _wrong_verb(_request: Request, _exc: Exception) -> Response:
    error = Invalid("Use GET to look and POST to change.")
    return httpd.json_response(rpc.failure(error, None, strict=False).body, 405)
