"""Everything that a VM finds when it boots: directories, address, context, description."""

import ipaddress
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from conpaassql import loopback
from conpaassql.errors import IaasError, IaasRefused
from conpaassql.iaas import Flavor, VmSpec
from conpaassql.iaas.local import datadisks, folders, records, wanted
from conpaassql.iaas.local.place import Place
from conpaassql.iaas.local.records import What
from conpaassql.protocol import AGENT_PORT, MYSQL_PORT


def furnish(place: Place, vm: Path, spec: VmSpec) -> None:
    """Lay everything out; ``vm.json`` comes last."""
    for name in ("log", "disk"):
        (vm / name).mkdir(exist_ok=True, mode=0o700)
    address = _address(place, vm, spec)
    context = {
        **spec.context,
        "CONPAASSQL_ADDRESS": address,
        "CONPAASSQL_ROOT": str(vm / "disk"),
        "CONPAASSQL_PYTHON": sys.executable,
        "CONPAASSQL_TEMPLATE": str(place.root / "template"),
        **_sizes(spec.flavor),
    }
    if spec.extras.data_disk_mib:
        context["CONPAASSQL_DATA_DIR"] = str(datadisks.provide(place, spec.name))
    if spec.extras.userdata:
        folders.write(vm / "userdata", spec.extras.userdata, 0o700)
    folders.write(vm / "context.sh", shell(context))
    records.note(
        vm,
        What(
            address=address,
            tags=dict(spec.tags),
            flavor=asdict(spec.flavor),
            meta=dict(spec.extras.meta),
            plain=wanted.is_plain(spec),
        ),
    )


def resize(vm: Path, what: What, flavor: Flavor) -> None:
    """Give a VM another size, from its next boot on; its disk is never made smaller."""
    size = replace(flavor, disk_mib=max(flavor.disk_mib, int(what.flavor["disk_mib"])))
    # The last assignment of a variable wins.  What stands there is not edited: a value may look like an assignment.
    text = (vm / "context.sh").read_text(encoding="utf-8")
    folders.write(vm / "context.sh", text + shell(_sizes(size)))
    records.note(vm, replace(what, flavor=asdict(size)))


def shell(values: Mapping[str, str]) -> str:
    """Return lines ``KEY='value'`` that a shell reads back as they were.

    Raises:
        IaasError: a key is no shell variable's name, or a value holds a NUL.
    """
    lines = []
    for key, value in values.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) or "\0" in value:
            raise IaasError(f"the context's {key!r} cannot be handed to a shell.")
        quoted = value.replace("'", r"'\''")
        lines.append(f"{key}='{quoted}'\n")
    return "".join(lines)


def _sizes(flavor: Flavor) -> Mapping[str, str]:
    return {"CONPAASSQL_MEMORY_MIB": str(flavor.memory_mib), "CONPAASSQL_DISK_MIB": str(flavor.disk_mib)}


def _address(place: Place, vm: Path, spec: VmSpec) -> str:
    """Return the VM's address: the one that its context names already, else a free one."""
    given = spec.context.get("CONPAASSQL_ADDRESS", "")
    if not given:
        return loopback.reserve(place.network, vm, (AGENT_PORT, MYSQL_PORT))
    try:
        is_ours = ipaddress.IPv4Address(given).is_loopback
    except ValueError:
        is_ours = False
    if not is_ours:
        raise IaasRefused(f"CONPAASSQL_ADDRESS = {given}: a VM of LOCAL can only have an address in 127.0.0.0/8.")
    loopback.hold(given, vm)
    return given
