"""A streamed answer whose source is closed when the answer ends, however it ends."""

from collections.abc import Generator, Iterator, Mapping

import anyio
import anyio.to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Stream(StreamingResponse):
    """Sends what ``pieces`` yields.

    Starlette leaves the iterator of a caller who went away to the garbage collector, which may
    take its time, and a program that feeds the iterator would run on.
    """

    def __init__(self, pieces: Iterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(pieces, media_type="application/octet-stream", headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then close the source; no thread is inside it any more by then."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._pieces, Generator):
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._pieces.close)
