"""Serves the table of verbs over mutual TLS: which function answers which verb, and for whom."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from conpaassql import httpd, pki, protocol
from conpaassql.agent import accounts, copy, data, digest, dump, facts, logs, replication
from conpaassql.agent.node import Node
from conpaassql.errors import Forbidden, Invalid, TooLarge
from conpaassql.protocol import Caller, Shape, Verb

MAX_ORDER_BYTES = 1 << 20

Call = Callable[[Node, Any], object]
Download = Callable[[Node, Any], Iterator[bytes]]
Upload = Callable[[Node, Any, Iterable[bytes]], object]

CALLS: Mapping[str, Call] = {
    "facts": lambda node, _request: facts.facts(node),
    "initialise": data.initialise,
    "clone": copy.clone,
    "start": data.start,
    "stop": data.stop,
    "restart": data.restart,
    "follow": replication.follow,
    "open": replication.open_writes,
    "close": replication.close_writes,
    "semi_sync": replication.semi_sync,
    "grant": replication.grant,
    "revoke": replication.revoke,
    "verify": digest.verify,
    "put_user": accounts.put_user,
    "drop_user": accounts.drop_user,
    "set_password": accounts.set_password,
    "users": accounts.users,
    "create_database": accounts.create_database,
    "drop_database": accounts.drop_database,
    "databases": accounts.databases,
    "set_options": accounts.set_options,
    "log": logs.log,
}

DOWNLOADS: Mapping[str, Download] = {
    "dump": dump.dump,
    "copy": copy.copy,
    "digest": digest.digest,
}

UPLOADS: Mapping[str, Upload] = {
    "load": dump.load,
}


def app(node: Node, cluster: str) -> Starlette:
    """Return the agent's application; ``cluster`` is the one whose other nodes may copy from here."""
    routes = [
        Route(
            f"/v1/{verb.name}",
            httpd.guarded(_endpoint(verb, node, cluster)),
            methods=["GET" if verb.shape is Shape.DOWNLOAD else "POST"],
        )
        for verb in protocol.VERBS
    ]
    return Starlette(routes=routes)


def _endpoint(verb: Verb, node: Node, cluster: str) -> Callable[[Request], Response]:
    answer = {Shape.CALL: _answer_call, Shape.DOWNLOAD: _answer_download, Shape.UPLOAD: _answer_upload}[verb.shape]

    def endpoint(request: Request) -> Response:
        _check_caller(request, verb, node, cluster)
        return answer(verb, node, request)

    return endpoint


def _check_caller(request: Request, verb: Verb, node: Node, cluster: str) -> None:
    """Let the manager do everything, and nodes of this cluster what is meant for nodes.

    A node that was removed keeps its certificate, but not its replica account.
    """
    subject = httpd.peer(request)
    caller = pki.identity_of(subject.get("commonName", ""), subject.get("organizationalUnitName", ""))
    if caller == pki.MANAGER:
        return
    if not caller or caller.node is None or caller.cluster != cluster or verb.caller is not Caller.NODE:
        raise Forbidden(f"The caller's certificate does not allow {verb.name}.", verb=verb.name)
    if not replication.admits(node, caller.node):
        raise Forbidden(f"Node {caller.node} may not read from this one. Have it granted first.", verb=verb.name)


def _answer_call(verb: Verb, node: Node, request: Request) -> Response:
    body = bytearray()
    for chunk in httpd.body_chunks(request):
        body += chunk
        if len(body) > MAX_ORDER_BYTES:
            raise TooLarge("An order has at most 1 MiB.", limit_bytes=MAX_ORDER_BYTES)
    order = _decode(verb, bytes(body) or b"{}")
    return httpd.json_response(CALLS[verb.name](node, order))


def _answer_download(verb: Verb, node: Node, request: Request) -> Response:
    order = _decode(verb, request.query_params.get("request", "{}").encode())
    headers = {"X-Total-Bytes": str(copy.copy_size(node))} if verb.name == "copy" else {}
    return httpd.Stream(DOWNLOADS[verb.name](node, order), headers=headers)


def _answer_upload(verb: Verb, node: Node, request: Request) -> Response:
    order = _decode(verb, request.query_params.get("request", "{}").encode())
    return httpd.json_response(UPLOADS[verb.name](node, order, httpd.body_chunks(request)))


def _decode(verb: Verb, body: bytes) -> Any:
    try:
        return msgspec.json.decode(body, type=verb.request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Invalid(f"The order {verb.name} is malformed: {exc}.", verb=verb.name) from exc
