"""The JSON-RPC face: the dialect of 2012, and strict JSON-RPC 2.0 for requests that say so.

2012: ``{"method", "params", "id"}`` by POST or in the query of a GET; the answer is
``{"result", "error", "id"}`` with status 200, where ``error`` is a sentence and ``code``, ``retry``
and ``details`` stand beside it.  Only requests that never reached a method get another status.
2.0: https://www.jsonrpc.org/specification, with batches and notifications; the error's ``data``
carries ``code``, ``retry`` and ``details``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from conpaassql import httpd, params
from conpaassql.errors import Error, Invalid, UnknownMethod
from conpaassql.manager.context import Manager
from conpaassql.manager.wishes import Accepted
from conpaassql.web import operations
from conpaassql.web.operations import Effect, Operation

MOST_IN_BATCH = 100
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
SERVER_ERROR = -32000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: an operation with checked parameters.  ``strict`` requests speak JSON-RPC 2.0."""

    operation: Operation
    values: dict[str, Any]
    id: str | int | float | None
    strict: bool = False
    silent: bool = False  # a notification: no answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back: a JSON value (None: nothing at all), its status, and the job that was begun."""

    body: Any
    status: int = 200
    job: int | None = None


def parse(raw: bytes) -> Any:
    """Return the JSON value of a body.

    Raises:
        Invalid: it is not JSON.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(f"The body is not JSON: {exc}.") from exc


def read_query(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the request that a GET's query carries; a repeated key keeps its last value."""
    request: dict[str, Any] = {"id": query.get("id")}
    if "method" in query:
        request["method"] = query["method"]
    if "params" in query:
        request["params"] = query["params"]
    return request


def is_strict(request: Any) -> bool:
    """Whether a request speaks JSON-RPC 2.0 (a batch always does)."""
    return isinstance(request, list) or (isinstance(request, dict) and request.get("jsonrpc") == "2.0")


def claims_strict(raw: bytes) -> bool:
    """Whether a body that is not JSON was meant to be JSON-RPC 2.0."""
    return b'"jsonrpc"' in raw


def check_form(request: Mapping[str, Any]) -> None:
    """Refuse what says 2.0 and is no request of it, whatever its method; null parameters are let pass.

    Raises:
        Invalid: it is none.  The answer is ``invalid_request``, also when there is no id.
    """
    id_ = request.get("id")
    if isinstance(id_, bool) or not isinstance(id_, str | int | float | None):
        raise Invalid("The id has to be text, a number or null.")
    if not isinstance(request.get("method"), str):
        raise Invalid("The method has to be text.")
    if not isinstance(request.get("params"), dict | list | None):
        raise Invalid("The params have to be an object or an array.")


def names_operation(request: Any) -> bool:
    """Whether a request reaches an operation, be its parameters right or wrong."""
    method = request.get("method") if isinstance(request, dict) else None
    return isinstance(method, str) and method in operations.BY_NAME


def request_id(request: Any) -> str | int | float | None:
    """Return what to echo: the id if it is one, else None."""
    found = request.get("id") if isinstance(request, dict) else None
    return found if isinstance(found, str | int | float) and not isinstance(found, bool) else None


def read(request: Any, *, by_get: bool = False) -> Call:
    """Return the call that a request makes.

    Raises:
        Invalid: it is no request, or its parameters are wrong.
        UnknownMethod: there is no such method, or it may not be called by GET.
    """
    if not isinstance(request, dict):
        raise Invalid("A request is a JSON object with method, params and id.")
    strict = is_strict(request)
    operation = _operation(request.get("method"), by_get=by_get)
    given = _given(operation, request.get("params"), strict=strict)
    return Call(
        operation=operation,
        values=params.bind(operation.params, operation.ignored, given),
        id=request_id(request),
        strict=strict,
        silent=strict and "id" not in request,
    )


def _operation(method: Any, *, by_get: bool) -> Operation:
    if method is None:
        raise Invalid("Did not specify method; name one, for example list_nodes.")
    if not isinstance(method, str):
        raise Invalid("The method has to be text.")
    operation = operations.BY_NAME.get(method)
    if operation is None:
        raise UnknownMethod(f"method not found: {method[:64]!r}; run-manager-client.sh --help lists all.")
    if by_get and operation.changes:
        raise UnknownMethod(f"method not found by GET: {method} changes things; send it by POST.")
    return operation


def _given(operation: Operation, found: Any, *, strict: bool) -> dict[str, Any]:
    if isinstance(found, str) and not strict:
        found = parse(found.encode()) if found.strip() else None
    if isinstance(found, list) and strict:
        names = [param.name for param in operation.params if param.name != "cluster"] + ["cluster"]
        if len(found) > len(names):
            raise Invalid(f"Unexpected arguments: {operation.name} takes at most {len(names)}.")
        return dict(zip(names, found, strict=False))
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Invalid("params has to be a JSON object.")
    return found


def answer(call: Call, act: Callable[[], Any]) -> Answer:
    """Perform a call and return its answer; errors become answers too."""
    result = httpd.attempt(act)
    if isinstance(result, Error):
        return failure(result, call.id, strict=call.strict, silent=call.silent)
    job = result.job if isinstance(result, Accepted) else None
    value = result.result if isinstance(result, Accepted) else result
    if call.strict:
        return Answer(body=None if call.silent else {"jsonrpc": "2.0", "result": value, "id": call.id}, job=job)
    return Answer(body={"result": value, "error": None, "id": call.id}, job=job)


def failure(error: Error, id_: str | int | float | None, *, strict: bool, silent: bool = False) -> Answer:
    """Return an error as its dialect says it."""
    if silent:
        return Answer(body=None)
    facts = {"code": error.code, "retry": error.retry, "details": error.details}
    if strict:
        return Answer(
            body={
                "jsonrpc": "2.0",
                "error": {"code": _number(error), "message": error.says, "data": facts},
                "id": id_,
            }
        )
    return Answer(body={"result": None, "error": error.says, "id": id_, **facts})


def invalid_request(error: Error, id_: str | int | float | None = None, number: int = INVALID_REQUEST) -> Answer:
    """Return the answer of 2.0 to what is no request; ``number`` says why."""
    answered = failure(error, id_, strict=True)
    answered.body["error"]["code"] = number
    return answered


def _number(error: Error) -> int:
    if isinstance(error, UnknownMethod):
        return METHOD_NOT_FOUND
    if isinstance(error, Invalid):
        return INVALID_PARAMS
    return INTERNAL_ERROR if type(error) is Error else SERVER_ERROR


def quick(call: Call) -> bool:
    """Whether a call is answered from memory, so that no thread is needed."""
    return call.operation.effect is Effect.LOOK


def run(manager: Manager, call: Call) -> Any:
    """Perform the operation of a call.

    Raises:
        Invalid: it is a stream, which has no place in an envelope.
    """
    if call.operation.effect is Effect.UPLOAD:
        fields = " or ".join(call.operation.files)
        raise Invalid(f"{call.operation.name} takes a file: send multipart/form-data with the part {fields}.")
    return perform(manager, call)


def perform(manager: Manager, call: Call, **more: Any) -> Any:
    """Perform the operation of a call; an upload's pieces are ``chunks``."""
    return operations.CALLS[call.operation.name](manager, **call.values, **more)
