"""What a VM is told in the language of cloud-init, for clouds without a context of their own.

Source: cloud-init's documentation, "User data formats" (MIME multi-part archives, cloud boothooks,
scripts, cloud configuration, gzip) and "Merging user data sections".
"""

import base64
import gzip
import json
import re
import shlex
from collections.abc import Mapping
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from conpaassql.errors import IaasRefused

CONTEXT = "/run/conpaassql/context.sh"  # where init.sh looks for it

# A boothook runs at every boot, before anything else: /run is empty after each.
_HOOK = """\
#cloud-boothook
#!/bin/sh
umask 077
mkdir -p /run/conpaassql
printf %s '{context}' | base64 -d >{path}.new
mv {path}.new {path}
"""
# The script comes with the context, so that every cloud boots in the same way; a prepared image may need none.
_START = """\
#!/bin/sh
umask 077
. {path}
[ -n "${{START_SCRIPT_BASE64:-}}" ] || exit 0
export CONPAASSQL_CONTEXT={path}
printf %s "$START_SCRIPT_BASE64" | base64 -d >/run/conpaassql/start.sh
exec sh /run/conpaassql/start.sh
"""
# OpenNebula tells a VM its address; here the VM knows it best.
_ADDRESS = ': "${ETH0_IP:=$(hostname -I | cut -d" " -f1)}"\n'
_TYPES = {
    "#!": "x-shellscript",
    "#cloud-config": "cloud-config",
    "#cloud-boothook": "cloud-boothook",
    "#include": "x-include-url",
    "## template: jinja": "jinja2",
}


def user_data(
    context: Mapping[str, str], userdata: str = "", files: Mapping[str, str] | None = None, swap_mib: int = 0
) -> str:
    """Return everything that a VM is told; empty: nothing.

    Args:
        context: readable in the VM as shell variables, in ``CONTEXT`` (mode 0600); its START_SCRIPT_BASE64 is run.
        userdata: the user's own, of any kind; alone, it is handed over as it is.
        files: contents by path in the VM, written once, mode 0600.
        swap_mib: size of a swap file; 0: none.

    Raises:
        IaasRefused: a key of the context is no shell variable's name, or a value holds a NUL.
    """
    parts = [*_of_context(context), *_of_config(files or {}, swap_mib)]
    if userdata and not parts:
        return userdata
    parts += [(_type(userdata), userdata)] if userdata else []
    return _archive(parts) if parts else ""


def within(text: str, limit: int) -> bytes:
    """Return user data as bytes, compressed where that is needed to stay within ``limit`` bytes.

    Raises:
        IaasRefused: it is larger all the same.
    """
    plain = text.encode()
    if len(plain) <= limit:
        return plain
    small = gzip.compress(plain, mtime=0)
    if len(small) > limit:
        says = f"user data, files and context are {len(small)} bytes when compressed; the cloud takes {limit}."
        raise IaasRefused(f"{says} Let the VM fetch the rest itself.")
    return small


def shell(values: Mapping[str, str]) -> str:
    """Return lines ``KEY='value'`` that a shell reads back as they were.

    Raises:
        IaasRefused: a key is no shell variable's name, or a value holds a NUL.
    """
    for key, value in values.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) or "\0" in value:
            raise IaasRefused(f"the context's {key!r} cannot be handed to a shell.")
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def _of_context(context: Mapping[str, str]) -> list[tuple[str, str]]:
    if not context:
        return []
    text = base64.b64encode((shell(context) + _ADDRESS).encode()).decode()
    hook = _HOOK.format(context=text, path=CONTEXT)
    return [("cloud-boothook", hook), ("x-shellscript", _START.format(path=CONTEXT))]


def _of_config(files: Mapping[str, str], swap_mib: int) -> list[tuple[str, str]]:
    if not files and not swap_mib:
        return []
    config: dict[str, object] = {"merge_how": "list(append)+dict(recurse_list)+str()"}
    if files:
        config["write_files"] = [
            {
                "path": path,
                "content": base64.b64encode(text.encode()).decode(),
                "encoding": "b64",
                "permissions": "0600",
            }
            for path, text in files.items()
        ]
    if swap_mib:
        config["swap"] = {"filename": "/swap.img", "size": swap_mib * 1024 * 1024}
    # JSON is YAML, and its quoting leaves no room for surprises.
    return [("cloud-config", "#cloud-config\n" + json.dumps(config, indent=1))]


def _type(userdata: str) -> str:
    """Return the kind of a part by how it begins, as cloud-init itself tells."""
    return next((kind for start, kind in _TYPES.items() if userdata.startswith(start)), "plain")


def _archive(parts: list[tuple[str, str]]) -> str:
    """Return the parts as one message; the boundary is fixed, so that the same VM is always told the same."""
    archive = MIMEMultipart(boundary="==conpaassql-part==")
    for kind, text in parts:
        archive.attach(MIMEText(text, kind, "utf-8"))
    return archive.as_string()
