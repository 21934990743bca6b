"""The driver's options, read and checked."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from conpaassql.errors import ConfigError

OPTIONS: Mapping[str, str] = {
    "OPENNEBULA_URL": "",
    "OPENNEBULA_USER": "",
    "OPENNEBULA_PASSWORD": "",
    "OPENNEBULA_IMAGE_ID": "",
    "OPENNEBULA_SIZE_ID": "",
    "OPENNEBULA_NETWORK_ID": "",
    "OPENNEBULA_NETWORK_GATEWAY": "",
    "OPENNEBULA_NETWORK_NAMESERVER": "",
    "OPENNEBULA_CONTEXT_SCRIPT_MANAGER": "",
    "OPENNEBULA_CONTEXT_SCRIPT_AGENT": "",
    "OPENNEBULA_TEMPLATE_ID": "",
    "OPENNEBULA_DATASTORE_ID": "",
    "OPENNEBULA_FILES_DS": "",
    "OPENNEBULA_CA_FILE": "",
    "OPENNEBULA_TIMEOUT_S": "30",
}
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the driver was told.

    ``image``, ``network``, ``template``, ``datastore`` and ``files`` are ids or names.
    ``scripts``: the scripts of 2012 were named, which nobody uses any more.
    ``timeout_s`` bounds one exchange; a call that is repeated takes at most twice that.
    """

    url: str
    user: str
    secret: str = field(repr=False)
    image: str
    network: str
    gateway: str
    nameserver: str
    template: str
    datastore: str
    files: tuple[str, ...]
    scripts: bool
    ca_file: Path | None
    timeout_s: float

    @property
    def session(self) -> str:
        """The first argument of every call."""
        return f"{self.user}:{self.secret}"

    @property
    def in_clear(self) -> bool:
        """Whether the password travels open over a network."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname or "")


def read(options: Mapping[str, str]) -> Config:
    """Return the options as they are meant.

    Raises:
        ConfigError: one is missing or wrong.
    """
    chosen = {key: (options.get(key) or default).strip() for key, default in OPTIONS.items()}
    secret = options.get("OPENNEBULA_PASSWORD", "")
    user = chosen["OPENNEBULA_USER"] or _wrong("OPENNEBULA_USER", "is missing; give the name of a cloud user")
    if re.search(r"[\s:]", user):
        _wrong("OPENNEBULA_USER", "has a blank or a colon in it; OpenNebula's user names have neither")
    return Config(
        url=_url(chosen["OPENNEBULA_URL"]),
        user=user,
        secret=secret or _wrong("OPENNEBULA_PASSWORD", "is missing; give the password or a login token"),
        image=chosen["OPENNEBULA_IMAGE_ID"],
        network=chosen["OPENNEBULA_NETWORK_ID"],
        gateway=chosen["OPENNEBULA_NETWORK_GATEWAY"],
        nameserver=chosen["OPENNEBULA_NETWORK_NAMESERVER"],
        template=chosen["OPENNEBULA_TEMPLATE_ID"],
        datastore=chosen["OPENNEBULA_DATASTORE_ID"],
        files=tuple(filter(None, re.split(r"[\s,]+", chosen["OPENNEBULA_FILES_DS"]))),
        scripts=any(chosen[f"OPENNEBULA_CONTEXT_SCRIPT_{whose}"] for whose in ("MANAGER", "AGENT")),
        ca_file=_ca_file(chosen["OPENNEBULA_CA_FILE"]),
        timeout_s=_seconds(chosen["OPENNEBULA_TIMEOUT_S"]),
    )


def _url(text: str) -> str:
    """Return the XML-RPC address: as in 2012 the path is always /RPC2, whatever was written."""
    if not text:
        _wrong("OPENNEBULA_URL", "is missing; use an address such as http://one.example.org:2633/RPC2")
    if not re.match(r"https?://", text):
        _wrong("OPENNEBULA_URL", f"= {text}: put http:// or https:// before it; only XML-RPC is spoken, not gRPC")
    parts = urlsplit(text)
    if "@" in parts.netloc:
        _wrong("OPENNEBULA_URL", "holds a login; put it into OPENNEBULA_USER and OPENNEBULA_PASSWORD")
    if not _has_host(text):
        _wrong("OPENNEBULA_URL", f"= {text}: this is no address; use one such as http://one.example.org:2633/RPC2")
    return f"{parts.scheme}://{parts.netloc}/RPC2"


def _has_host(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _ca_file(text: str) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_file():
        _wrong("OPENNEBULA_CA_FILE", f"= {text}: there is no such file; name a file of certificates in PEM")
    return path


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not (math.isfinite(seconds) and seconds > 0):
        _wrong("OPENNEBULA_TIMEOUT_S", f"= {text}: use a number of seconds above 0")
    return seconds


def _wrong(key: str, says: str) -> NoReturn:
    raise ConfigError(f"[iaas] {key} {says}.", section="iaas", key=key)
