"""What new VMs install, served by the manager: its own wheel, its authority's certificate, the install script.

``GET /install/`` is an index that ``pip --find-links`` reads, ``/install/<name>`` a file of it.  No
login: a VM that boots has none, and there is nothing to keep from anybody, since the program is free
software and a certificate is public.  What makes the download trustworthy is not who may fetch it, but
that the VM's context, which came by the cloud, names the checksum and the authority.

Only names that were listed are looked up, never paths, so nothing else can be asked for.
"""

import hashlib
import html
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from conpaassql import httpd, packages
from conpaassql.errors import NotFound
from conpaassql.manager.context import Manager

PREFIX = packages.URL_PATH
AUTHORITY = "ca.pem"
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,199}\.whl")  # PEP 427; nothing that begins with a point
_CHUNK = 1 << 18
_PLAIN = "application/octet-stream"  # no browser is to make anything of it
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}

Offered = Mapping[str, Path | bytes]


def routes(manager: Manager) -> list[Route]:
    """Return the routes below ``/install``, for GET and HEAD."""
    index = httpd.guarded(partial(_index, manager))
    file = httpd.guarded(partial(_file, manager))
    return [
        Route(PREFIX, index),
        Route(f"{PREFIX}/", index),
        Route(f"{PREFIX}/{{name}}", file),
    ]


def offered(manager: Manager) -> Offered:
    """Return what may be fetched by name: a file, or the bytes themselves.

    Raises:
        ConfigError: our own wheel cannot be made.
    """
    settings = manager.settings.manager
    own = packages.package(settings.package_dir)
    return {
        **_wheels(settings.packages_dir),
        own.path.name: own.path,
        AUTHORITY: manager.authority.certificate_pem,
        packages.INSTALL_SCRIPT: packages.script(packages.INSTALL_SCRIPT),
    }


def _wheels(folder: Path) -> Mapping[str, Path]:
    """Return the wheels of a folder, which need not exist; no links, as these might lead anywhere."""
    with suppress(OSError), os.scandir(folder) as entries:
        found = [entry for entry in entries if _WHEEL.fullmatch(entry.name)]
        return {entry.name: Path(entry.path) for entry in found if entry.is_file(follow_symlinks=False)}
    return {}


def _index(manager: Manager, _request: Request) -> Response:
    """Answer with links whose fragments are checksums, which pip compares (PEP 503)."""
    lines = [
        f'<a href="{PREFIX}/{html.escape(name)}#sha256={checksum}">{html.escape(name)}</a><br>'
        for name, source in sorted(offered(manager).items())
        if (checksum := _checksum(source))
    ]
    page = ["<!DOCTYPE html>", '<html><head><meta charset="utf-8"><title>conpaassql</title></head><body>', *lines]
    return Response("\n".join([*page, "</body></html>", ""]), media_type="text/html", headers=_HEADERS)


def _file(manager: Manager, request: Request) -> Response:
    name = request.path_params["name"]
    source = offered(manager).get(name)
    if source is None:
        raise NotFound(f"There is no {name[:100]!r} to install; {PREFIX}/ lists what there is.")
    file, size = _opened(source)
    headers = {**_HEADERS, "Content-Length": str(size)}
    if request.method == "HEAD":
        file.close()
        return Response(headers=headers, media_type=_PLAIN)
    return httpd.Stream(_pieces(file, size), _PLAIN, headers)


def _checksum(source: Path | bytes) -> str:
    """Return the checksum; empty for a file that has gone meanwhile."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        return packages.sha256(source)
    except OSError:
        return ""


def _opened(source: Path | bytes) -> tuple[BinaryIO, int]:
    """Return an open file and its size.

    Raises:
        NotFound: it has gone meanwhile, or is no ordinary file any more.
    """
    if isinstance(source, bytes):
        return io.BytesIO(source), len(source)
    try:
        # Not waiting, as a pipe put in its place would make us.
        file = os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as exc:
        raise NotFound(f"{source.name} cannot be read: {exc.strerror}.") from exc
    seen = os.fstat(file.fileno())
    if not stat.S_ISREG(seen.st_mode):
        file.close()
        raise NotFound(f"{source.name} is no file.")
    return file, seen.st_size


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes and close the file, also when nobody takes them."""
    with file:
        while size > 0 and (piece := file.read(min(_CHUNK, size))):
            size -= len(piece)
            yield piece
