"""``conpaassql machine`` (also ``server``) and ``snapshot``: VMs by WL#6432 of MySQL Fabric."""

import sys
from typing import Any

import click

from conpaassql.client import asking, options
from conpaassql.client.asking import Asking
from conpaassql.client.command_provider import PROVIDER, SYNCHRONOUS
from conpaassql.client.ends import End
from conpaassql.client.tables import column

MACHINES = (
    column("UUID", "uuid"),
    column("VM", "vm_id"),
    column("STATE", "state"),
    column("ADDRESSES", "addresses"),
    column("PUBLIC", "public_address"),
    column("ZONE", "av_zone"),
    column("SAYS", "says"),
)
MACHINE = click.argument("machine_uuid")
SKIP_STORE = options.yes_no("--skip-store", "Go on although the manager has no record of the machine.")


BLOCK_DEVICE = (
    "A further disk: TYPE is volume, snap, image or blank (without an ID), SIZE in GiB, DELETE is 1 when it goes "
    "with the machine, and 0 when it stays."
)


@click.group()
def machine() -> None:
    """Single machines of a cloud.

    They belong to no cluster, and what runs on them is up to --userdata and the image.
    """


@machine.command()
@PROVIDER
@options.many("--image", says="Which image: name, id, mindisk (GiB) or minram (MiB); all have to match, and one image.")
@options.many("--flavor", says="Which size: name, id, vcpus, ram (MiB), disk (GiB) or swap (MiB); as for --image.")
@click.option("--number-machines", type=int, metavar="N", default=1, show_default=True, help="How many; all or none.")
@options.text("--availability-zone", "Where the machines stand.", "ZONE")
@options.text("--key-name", "The public key, known to the cloud, that opens the machines by SSH.")
@options.text("--security-groups", "Who may reach the machines: names with commas between them.", "NAMES")
@options.text("--private-network", "The network that the machines are on.", "NETWORK")
@options.text("--public-network", "Where each machine gets a public address from.", "NETWORK")
@options.text("--userdata", "A file of this machine with the script for cloud-init; - is standard input.", "FILE")
@click.option("--swap", type=int, metavar="MIB", help="Size of a swap disk.")
@options.many("--block-device", says=BLOCK_DEVICE, metavar="DEVICE=ID:TYPE:SIZE:DELETE")
@options.many("--scheduler-hints", says="A hint to the cloud's scheduler.")
@options.many("--private-nics", says="A network card: net-id=N[,v4-fixed-ip=A] or port-id=P.", metavar="NIC")
@options.many("--public-nics", says="A public network card: net-id=N or port-id=P.", metavar="NIC")
@options.many(
    "--meta", says="Something to keep with the machine; keys of ours (conpaassql..., mysql-fabric...) may not."
)
@options.many("--files", "--file", says="A file for the machine, from a file of this one.", metavar="PATH=FILE")
@options.yes_no("--skip-store", "Keep no record of the machines.")
@options.yes_no("--wait-spawning", "The job is done when the machines run, not when they are asked for.", default=True)
@SYNCHRONOUS
@asking.asking
def create(ask: Asking, *, provider_id: str, synchronous: bool, skip_store: bool, **values: Any) -> End:
    """Make machines, all or none, and list them.

    Without --image and --flavor they are the provider's defaults. Several images or flavors that
    match are an error that lists them. Where a cloud has no flavors with names (OpenNebula, LOCAL),
    vcpus, ram and disk are the size itself. --private-network goes not with --private-nics, nor
    --public-network with --public-nics.

    \b
    Examples:
      conpaassql machine create one.example
      conpaassql machine create one.example --image name="Debian 12" --flavor vcpus=2 --flavor ram=2048 \\
          --number_machines=3 --security_groups "default, high-security" --userdata setup.sh
    """
    values |= {key: list(values[key]) for key in ("block_device", "private_nics", "public_nics")}
    values["image"] = options.pairs("--image", values["image"])
    values["flavor"] = options.pairs("--flavor", values["flavor"])
    values["scheduler_hints"] = options.pairs("--scheduler-hints", values["scheduler_hints"])
    values["meta"] = options.pairs("--meta", values["meta"])
    values["files"] = options.contents("--files", values["files"])
    values["userdata"] = options.content("--userdata", values["userdata"]) if values["userdata"] else ""
    asked = {"provider_id": provider_id, "skip_store": skip_store, **values}
    outcome = asking.order(ask, "machine_create", wait=synchronous, **asked)
    if outcome.running and not ask.json:
        print(asking.begun(outcome), file=sys.stderr)
    told = asking.told(outcome)
    return asking.show(ask, told, MACHINES, told["machines"])


@machine.command()
@PROVIDER
@MACHINE
@SKIP_STORE
@options.yes_no("--force", "Remove the record although the cloud does not remove the machine.")
@SYNCHRONOUS
@asking.asking
def destroy(ask: Asking, *, synchronous: bool, **values: Any) -> End:
    """Destroy a machine and its snapshots.

    Its public address is given back, too. With --force the machine may still run, without a record
    of it; the answer then says so.
    """
    outcome = asking.order(ask, "machine_destroy", wait=synchronous, **values)
    return asking.accepted(ask, outcome, f"Machine {values['machine_uuid']} is destroyed.")


@machine.command("list")
@PROVIDER
@options.yes_no("--skip-store", "Ask the cloud instead of the record; only machines of this manager are listed.")
@options.many("--generic-filters", says="Only machines with this uuid, name, id, state, zone or address.")
@options.many("--meta-filters", says="Only machines with this --meta.")
@asking.asking
def list_(ask: Asking, *, generic_filters: tuple[str, ...], meta_filters: tuple[str, ...], **values: Any) -> End:
    """List the machines of a cloud that were made by these commands."""
    values["generic_filters"] = options.pairs("--generic-filters", generic_filters)
    values["meta_filters"] = options.pairs("--meta-filters", meta_filters)
    result = asking.look(ask, "machine_list", **values)
    return asking.show(ask, result, MACHINES, result["machines"])


@click.group()
def snapshot() -> None:
    """Images of machines, for further machines like them."""


@snapshot.command("create")
@PROVIDER
@MACHINE
@SKIP_STORE
@options.yes_no("--wait-spawning", "The job is done when the snapshot can be used.", default=True)
@SYNCHRONOUS
@asking.asking
def create_snapshot(ask: Asking, *, synchronous: bool, **values: Any) -> End:
    """Make an image of a machine's first disk, as it is at that moment."""
    outcome = asking.order(ask, "snapshot_create", wait=synchronous, **values)
    return asking.accepted(ask, outcome, f"The snapshot of machine {values['machine_uuid']} is made.")


@snapshot.command("destroy")
@PROVIDER
@MACHINE
@SKIP_STORE
@SYNCHRONOUS
@asking.asking
def destroy_snapshots(ask: Asking, *, synchronous: bool, **values: Any) -> End:
    """Destroy all snapshots that were made of a machine."""
    outcome = asking.order(ask, "snapshot_destroy", wait=synchronous, **values)
    return asking.accepted(ask, outcome, f"The snapshots of machine {values['machine_uuid']} are destroyed.")
