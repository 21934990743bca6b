"""What of a VM's specification LOCAL understands.  Pure."""

from collections.abc import Iterator

from conpaassql.errors import Error, IaasMissing, Unsupported
from conpaassql.iaas import VmSpec
from conpaassql.iaas.local.place import Place
from conpaassql.iaas.local.records import ZONE

IMAGE = "local"
NETWORK = "local"


def is_plain(spec: VmSpec) -> bool:
    """Whether the VM is to be no node of ours."""
    return "CONPAASSQL_NODE" not in spec.context


def complaints(spec: VmSpec, place: Place) -> Iterator[Error]:
    """Yield an error for each thing that is wished for and that LOCAL has not.

    Ignored, as they do no harm here: ``extras.apart``, which is a wish for the case that there are
    several hosts, and the template, which is in another cloud's language.  Scheduler hints are
    refused: who names a host or a group relies on it.
    """
    for option in _lacking(spec):
        yield Unsupported(f"LOCAL has no {option}; leave it out.", option=option)
    extras = spec.extras
    if extras.availability_zone not in ("", ZONE):
        says = f"LOCAL has no availability_zone {extras.availability_zone}; its only one is {ZONE}."
        yield Unsupported(says, option="availability_zone")
    if extras.userdata and not (is_plain(spec) and extras.userdata.startswith("#!")):
        says = "LOCAL runs user data only if they are a script that begins with #!, and only in machines, not in nodes."
        yield Unsupported(says, option="userdata")
    if spec.flavor_id:
        yield IaasMissing(f"LOCAL has no flavor {spec.flavor_id}; sizes are free here: give memory and disk.")
    if spec.network not in ("", NETWORK, str(place.network)):
        yield IaasMissing(f"LOCAL has no network {spec.network}; its only one is {NETWORK}.")


def _lacking(spec: VmSpec) -> Iterator[str]:
    extras = spec.extras
    asked = {
        "key_name": extras.key_name,
        "security_groups": extras.security_groups,
        "private_nics": extras.nics,
        "public_network": extras.public_network,
        "public_nics": extras.public_nics,
        "swap": extras.swap_mib,
        "block_device": extras.block_devices,
        "scheduler_hints": extras.hints,
        "files": extras.files,  # a path in the guest would be a path of this machine
    }
    return (option for option, value in asked.items() if value)
