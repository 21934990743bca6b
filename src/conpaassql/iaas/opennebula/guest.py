"""What a VM is told through its CONTEXT; pure.

OpenNebula expands every ``$`` in CONTEXT, once, and empties what it does not know.  So a value of
ours that it would touch goes as ``<KEY>_BASE64``, and scripts always do.
"""

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from conpaassql.errors import IaasRefused, Unsupported
from conpaassql.iaas.opennebula import template
from conpaassql.iaas.opennebula.template import Pairs

DATA_DEVICE = "CONPAASSQL_DATA_DEVICE"
_SCRIPT = "START_SCRIPT_BASE64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is to be told.  ``keys`` are words for CONTEXT, ``files`` contents by path; see ``offers.Extras``."""

    keys: Mapping[str, str] = field(repr=False)
    userdata: str = field(default="", repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    ssh_key: str = ""
    images: tuple[int, ...] = ()  # of TYPE CONTEXT, for FILES_DS
    data: int | None = None  # the image that is the data disk


def context(base: Pairs, told: Told) -> Pairs:
    """Return a template's CONTEXT with what is to be told, which wins.

    Raises:
        IaasRefused: a key cannot be one of CONTEXT.
        Unsupported: a file's path is not absolute.
    """
    pairs = template.merged(base, dict(_safe(key, value) for key, value in told.keys.items()))
    if told.ssh_key:
        pairs = template.merged(pairs, {"SSH_PUBLIC_KEY": told.ssh_key})
    if told.images:
        words = [template.first(pairs, "FILES_DS"), *(f"$FILE[IMAGE_ID={number}]" for number in told.images)]
        pairs = template.merged(pairs, {"FILES_DS": " ".join(filter(None, words))})
    if told.data is not None:
        # OpenNebula chooses the device; in the guest it has that name as long as all disks are of one kind.
        pairs = template.merged(pairs, {DATA_DEVICE: f"$DISK[TARGET, IMAGE_ID={told.data}]"})
    pairs = _with_userdata(pairs, told)
    if not template.first(pairs, "NETWORK"):
        pairs = (*pairs, ("NETWORK", "YES"))
    return pairs


def _safe(key: str, value: str) -> tuple[str, str]:
    if "$" not in value and template.is_writable(value):
        return key, value
    if key.endswith("_BASE64"):
        raise IaasRefused(f"the context's {key} is not base64; leave out what OpenNebula would expand.")
    return f"{key}_BASE64", _base64(value)


def _with_userdata(pairs: Pairs, told: Told) -> Pairs:
    """Hand over user data: a script as the start script, else as they are, for cloud-init."""
    scripts = [_writing(path, text) for path, text in told.files.items()]
    if told.userdata.startswith("#!"):
        scripts.append(_running(_base64(told.userdata)))
    elif told.userdata:
        pairs = template.merged(pairs, {"USER_DATA": _base64(told.userdata), "USERDATA_ENCODING": "base64"})
    if not scripts:
        return pairs
    if before := template.first(pairs, _SCRIPT):
        scripts.append(_running(before))
    return template.merged(pairs, {_SCRIPT: _base64("#!/bin/sh\n" + "".join(scripts))})


def _writing(path: str, text: str) -> str:
    """Return the lines of a script that write a file, for its owner alone."""
    if not path.startswith("/") or "\0" in path or path.endswith("/"):
        raise Unsupported(f"files: {path!r} is no absolute path in the VM; use one such as /etc/motd.")
    whole = shlex.quote(path)
    folder = shlex.quote(path.rpartition("/")[0] or "/")
    return f"mkdir -p {folder} && (umask 077; printf %s '{_base64(text)}' | base64 -d >{whole})\n"


def _running(script: str) -> str:
    """Return the lines of a script that run another, whatever its language, and remove it."""
    return (
        'script=$(mktemp) && chmod 700 "$script" && printf %s \''
        + script
        + '\' | base64 -d >"$script" && "$script"\nrm -f "$script"\n'
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
