"""Uploads: multipart/form-data read as it comes, fields first, then one file, never whole in memory."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from conpaassql.errors import Invalid, TooLarge

MOST_FIELD_BYTES = 1 << 16
MOST_FIELDS = 50


class Upload:
    """One form on its way: ``fields`` are complete when the constructor returns, ``chunks`` is the file.

    Raises:
        Invalid: not a form, no file in it, or fields after the file.
    """

    def __init__(self, content_type: str, body: Iterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise Invalid("An upload is multipart/form-data with a boundary.")
        self.fields: dict[str, str] = {}
        self.file_field = ""
        self._body = body
        self._pieces: deque[bytes] = deque()
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[str, str] = {}
        self._name = ""
        self._value = bytearray()
        self._in_file = False
        self._ended = False
        self._parser = MultipartParser(options[b"boundary"], self._callbacks())
        while not self.file_field and self._feed():
            pass
        if not self.file_field:
            raise Invalid("The form carries no file; add it as the last part, with a file name.")

    def chunks(self, limit_bytes: int = 0) -> Iterator[bytes]:
        """Yield the file's bytes.  ``limit_bytes`` 0: of any size.

        Raises:
            Invalid: the form breaks off before its end.
            TooLarge: the file has more than ``limit_bytes``.
        """
        size = 0
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                size += len(piece)
                if limit_bytes and size > limit_bytes:
                    raise TooLarge(f"The file has more than {limit_bytes} bytes (max_dump_mib).", limit=limit_bytes)
                yield piece
            if not self._feed():
                break
        if not self._ended:
            raise Invalid("The upload broke off before its end; what had come was not all.")

    def _feed(self) -> bool:
        chunk = next(self._body, b"")
        if not chunk:
            return False
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise Invalid(f"The form is malformed: {exc}.") from exc
        return True

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._on_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._on_header(1, data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": lambda data, start, end: self._on_data(data[start:end]),
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        if self.file_field:
            raise Invalid(f"The file ({self.file_field}) has to be the last part of the form.")
        if len(self.fields) >= MOST_FIELDS:
            raise _too_large()
        self._headers, self._value = {}, bytearray()

    def _on_header(self, which: int, data: bytes) -> None:
        self._header[which] += data

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")
        self._header = [b"", b""]

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", ""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = b"filename" in options
        if self._in_file:
            self.file_field = self._name

    def _on_data(self, data: bytes) -> None:
        if self._in_file:
            self._pieces.append(data)
            return
        self._value += data
        if len(self._value) > MOST_FIELD_BYTES:
            raise _too_large()

    def _on_part_end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")
        self._in_file = False

    def _on_end(self) -> None:
        self._ended = True


def _too_large() -> TooLarge:
    return TooLarge("The form's fields are too many or too large; the dump has to be a file part with a file name.")


def as_request(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the request that a form's fields make: ``method``, ``id`` and the parameters beside them."""
    return {
        "method": fields.get("method"),
        "id": fields.get("id", 1),  # the clients of 2012 get the integer 1 back
        "params": {key: value for key, value in fields.items() if key not in ("method", "id")},
    }
