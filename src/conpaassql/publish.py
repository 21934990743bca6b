"""Writes what a manager's VM is made from: the wheel, the install script and a filled-in VM template.

    python -m conpaassql.publish FOLDER --url https://www.example.org/conpaassql --image 193 --network 205

``FOLDER`` is then put where VMs can fetch it, at ``--url``.  Agents need none of this: they fetch from
their manager.
"""

import argparse
import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from conpaassql import packages, render
from conpaassql.errors import ConfigError, Error
from conpaassql.manager import bootstrap

TEMPLATE = "conpaassql-manager.template"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files and say where they are; return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m conpaassql.publish", description="Prepares a manager's VM.")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--url", default="", help="where VMs will find the folder; without it, on the context's CD")
    parser.add_argument("--image", required=True, help="image of the manager's VM, by number or name")
    parser.add_argument("--network", required=True, help="network of the manager's VM, by number or name")
    given = parser.parse_args(arguments)
    try:
        publish(given.folder, given.url, given.image, given.network)
    except Error as exc:
        sys.stderr.write(f"conpaassql.publish: {exc.says}\n")
        return 1
    return 0


def publish(folder: Path, url: str, image: str, network: str) -> None:
    """Write wheel, script and template into ``folder``; ``url`` empty: the wheel comes by FILES_DS.

    Raises:
        ConfigError: ``folder`` cannot be written, or a value would break out of the template.
    """
    new = not folder.exists()
    wheel = packages.package(folder)
    script = packages.script(packages.INSTALL_SCRIPT)
    values = {
        "FILE": TEMPLATE,
        "IMAGE": image,
        "NETWORK": network,
        "PACKAGE": f"{url.rstrip('/')}/{wheel.path.name}" if url else wheel.path.name,
        "PACKAGE_SHA256": wheel.sha256,
        "START_SCRIPT_BASE64": base64.b64encode(bootstrap.start_script(script, "manager")).decode(),
    }
    _check(values)
    try:
        (folder / packages.INSTALL_SCRIPT).write_bytes(script)
        (folder / TEMPLATE).write_text(render.manager_template(values), encoding="utf-8")
        for path in (wheel.path, folder / packages.INSTALL_SCRIPT, folder / TEMPLATE):
            path.chmod(0o644)
        if new:  # one that was there may hold what is nobody's business
            folder.chmod(0o755)
    except OSError as exc:
        raise ConfigError(f"{exc.filename}: {exc.strerror}.", file=str(folder)) from exc


def _check(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if not value.isprintable() or set(value) & set('"\\$'):
            raise ConfigError(f"{name.lower()} {value!r}: quotes, backslashes and $ do not go into a VM template.")


if __name__ == "__main__":
    sys.exit(main())
