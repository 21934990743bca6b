"""Calls to a manager over HTTP: JSON-RPC as in 2012, uploads and downloads of any size."""

import http.client
import os
import secrets
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import requests
from requests.auth import AuthBase

from conpaassql import errors
from conpaassql.client.state import Door
from conpaassql.errors import Error, Invalid, Unauthorized, Unavailable

Target = Callable[[], AbstractContextManager[BinaryIO]]
JOB_HEADER = "Conpaassql-Job"
CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 150.0  # an agent may take two minutes over an order
STREAM_TIMEOUT_S = 660.0  # without a byte; a server may take long over one statement of a dump
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the manager said: ``error`` is its refusal, ``job`` the job that it began."""

    result: Any = None
    error: Error | None = None
    job: int | None = None

    def value(self) -> Any:
        """Return the result.

        Raises:
            Error: the manager refused.
        """
        if self.error:
            raise self.error
        return self.result


class _Bearer(AuthBase):
    """A header that no proxy setting and no .netrc replaces."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Server:
    """One manager.  Close it, or use it in a ``with``.

    All calls raise Unavailable when the manager cannot be reached or does not talk sense, and
    Unauthorized when it does not know us.  What else it refuses is in the answer.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._session = requests.Session()
        self._session.auth = _Bearer(door.token)
        self._session.trust_env = not door.loopback
        if door.url.startswith("https:") and door.ca:
            self._session.verify = str(door.ca)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def call(self, method: str, values: Mapping[str, Any] | None = None) -> Answer:
        """Call a method."""
        body = {"method": method, "params": dict(values or {}), "id": 1}
        with (
            self._translated(),
            self._session.post(
                self._door.url, json=body, timeout=(CONNECT_TIMEOUT_S, CALL_TIMEOUT_S), allow_redirects=False
            ) as response,
        ):
            return _answer(response)

    def upload(self, method: str, values: Mapping[str, Any], field: str, source: BinaryIO) -> Answer:
        """Call a method with a file, read as it is sent."""
        # A refused login in the middle of a long upload would only be seen as a broken pipe.
        self.call("list_clusters")
        boundary = secrets.token_hex(16)
        fields = {"method": method, "id": "1", **{key: str(value) for key, value in values.items()}}
        with (
            self._translated(),
            self._session.post(
                self._door.url,
                data=form(boundary, fields, field, source),
                headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
                timeout=(CONNECT_TIMEOUT_S, STREAM_TIMEOUT_S),
                allow_redirects=False,
            ) as response,
        ):
            return _answer(response)

    def download(self, method: str, values: Mapping[str, Any], target: Target) -> Answer:
        """Call a method that answers with a stream, and write it as it comes; a refusal opens no ``target``."""
        body = {"method": method, "params": dict(values), "id": 1}
        with (
            self._translated(),
            self._session.post(
                self._door.url,
                json=body,
                stream=True,
                timeout=(CONNECT_TIMEOUT_S, STREAM_TIMEOUT_S),
                allow_redirects=False,
            ) as response,
        ):
            if response.status_code != 200 or "json" in response.headers.get("Content-Type", ""):
                return _answer(response)
            with target() as out:
                for chunk in self._chunks(response):
                    out.write(chunk)
            return Answer()

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        # Translated here already: requests' errors are OSErrors, as those of the file are.
        with self._translated():
            yield from response.iter_content(CHUNK_BYTES)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as exc:
            place = urllib.parse.urlsplit(self._door.url).netloc.rpartition("@")[2]
            raise Unavailable(f"The manager at {place} cannot be reached: {_reason(exc)}.") from exc


@contextmanager
def saved(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written, which has its name only when it is whole.

    Raises:
        Invalid: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            yield target
        part.replace(path)
    except OSError as exc:
        raise Invalid(f"{path} cannot be written: {exc.strerror or exc}.") from exc
    finally:
        part.unlink(missing_ok=True)


def form(boundary: str, fields: Mapping[str, str], file_field: str, source: BinaryIO) -> Iterator[bytes]:
    """Yield multipart/form-data: the fields first, then the file as it is read (RFC 7578)."""
    for name, value in fields.items():
        yield f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    disposition = f'form-data; name="{file_field}"; filename="dump.sql"'
    yield f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: application/sql\r\n\r\n".encode()
    while chunk := source.read(CHUNK_BYTES):
        yield chunk
    yield f"\r\n--{boundary}--\r\n".encode()


def _answer(response: requests.Response) -> Answer:
    try:
        body = response.json()
        says, code, details = body["error"], body.get("code"), body.get("details")
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise Unavailable(
            f"What answered is no manager (status {response.status_code}); check host, port and CONPAASSQL_URL."
        ) from exc
    if says is not None:
        error = errors.from_wire(str(code), str(says), details if isinstance(details, dict) else {})
        if isinstance(error, Unauthorized):
            raise error
        return Answer(error=error)
    job = response.headers.get(JOB_HEADER, "")
    return Answer(result=body.get("result"), job=int(job) if job.isdigit() else None)


def _reason(exc: requests.RequestException) -> str:
    """Return the innermost cause in short; requests wraps it three times."""
    cause: BaseException = exc
    for _ in range(8):
        inner = getattr(cause, "reason", None)
        following = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
        if following is None:
            break
        cause = following
    if isinstance(cause, http.client.RemoteDisconnected):
        return "it hung up; if it speaks TLS, name its https:// address in CONPAASSQL_URL"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return str(text).rstrip(".")
