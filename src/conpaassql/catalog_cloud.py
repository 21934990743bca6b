"""What can be asked about clouds: providers, machines, snapshots (the commands of MySQL Fabric's WL#6432)."""

from conpaassql import params, params_cloud
from conpaassql.operation import Effect, Row
from conpaassql.params import Param, Read

PROVIDER = Param(name="provider_id", read=params_cloud.provider_name, says="Give the provider's name.")
OF_CLUSTER = Param(
    name="provider",
    read=params_cloud.provider_name,
    says="The provider whose VMs the nodes are.",
    required=False,
    default="default",
)
INSTEAD_OF_CLUSTER = Param(
    name="provider_id", read=params_cloud.provider_name, says="A provider, instead of a cluster.", required=False
)
MACHINE = Param(name="machine_uuid", read=params_cloud.machine_uuid, says="Give the machine's UUID, from machine_list.")


def _flag(name: str, says: str, default: bool) -> Param:
    return Param(name=name, read=params.flag, says=says, required=False, default=default)


def _text(name: str, says: str) -> Param:
    return Param(name=name, read=params.text, says=says, required=False, default="")


def _changed(name: str, says: str) -> Param:
    """A text that stays as it is where none is given; an empty one is one."""
    return Param(name=name, read=params.text, says=says, required=False)


def _needed(name: str, says: str) -> Param:
    return Param(name=name, read=params.text, says=says)


def _many(name: str, read: Read, says: str) -> Param:
    """A parameter that may hold several things: an array, an object or one text."""
    return Param(name=name, read=read, says=says, required=False, default=read(name, []))


SKIP_STORE = _flag("skip_store", "Whether to do without a record of the machine.", default=False)
WAIT = _flag("wait_spawning", "Whether the job waits until the cloud says that it is ready.", default=True)
SYNCHRONOUS = _flag("synchronous", "Whether this call waits for the job (for a bounded time).", default=True)

_IMAGE = _many(
    "image",
    params_cloud.IMAGE_FILTERS,
    "key=value, all of which the image has: name, id, mindisk (GiB), minram (MiB).",
)
_FLAVOR = _many(
    "flavor",
    params_cloud.FLAVOR_FILTERS,
    "key=value, all of which the flavor has: name, id, vcpus, ram (MiB), disk (GiB), swap (MiB).",
)
_CREATE = (
    PROVIDER,
    _IMAGE,
    _FLAVOR,
    Param(
        name="number_machines",
        read=params.whole_number(1, 10000),
        says="How many.",
        required=False,
        default=1,
    ),
    _text("availability_zone", "Where in the cloud."),
    _text("key_name", "A public key that the cloud knows."),
    _many("security_groups", params.names, "Names of security groups, an array or separated by commas."),
    _text("private_network", "The network of the machines' addresses, by name or id."),
    _text("public_network", "The pool of public addresses."),
    Param(
        name="userdata",
        read=params_cloud.long_text,
        says="What the machine runs at its first boot: the text itself, never a path.",
        required=False,
        default="",
    ),
    Param(
        name="swap", read=params.whole_number(0, 1 << 24), says="Size of a swap disk, MiB.", required=False, default=0
    ),
    _many("block_device", params_cloud.block_devices, "Further disks: device=id:type:size in GiB:delete-on-terminate."),
    _many("scheduler_hints", params_cloud.pairs, "key=value for the cloud's scheduler."),
    _many("private_nics", params_cloud.private_nics, "Network cards: net-id=,v4-fixed-ip= or port-id=."),
    _many("public_nics", params_cloud.public_nics, "Public network cards: net-id= or port-id=."),
    _many("meta", params_cloud.meta, "key=value to keep with the machines."),
    _many("files", params_cloud.files, "path=content of files in the machines."),
    SKIP_STORE,
    WAIT,
    SYNCHRONOUS,
)

ROWS: tuple[Row, ...] = (
    Row(
        name="provider_register",
        says="Make a cloud known by a name, with the credentials to use it.",
        effect=Effect.CHANGE,
        params=(
            PROVIDER,
            _needed("username", "Give the cloud user's name."),
            _needed("password", "Give the cloud user's password."),
            _needed("url", "Give the cloud's address."),
            _text("tenant", "The project that owns the machines."),
            Param(
                name="provider_type",
                read=params.text,
                says="The kind of cloud.",
                required=False,
                default="OPENSTACK",
            ),
            _text("default_image", "Image of machines that name none: its name or id."),
            _text("default_flavor", "Flavor of machines that name none: its name or id, or key=value, ..."),
            _many("extra", params_cloud.pairs, "Further options of the driver, such as region=west."),
            _flag("synchronous", "Accepted; this is done at once.", default=True),
        ),
    ),
    Row(
        name="provider_update",
        says="Change the login or the defaults of a provider, also while it is in use; only what is given changes.",
        effect=Effect.CHANGE,
        params=(
            PROVIDER,
            _changed("username", "The cloud user's name."),
            _changed("password", "The cloud user's password or token."),
            _changed("url", "Another address of the same cloud."),
            _changed("tenant", "The project that owns the machines."),
            _changed("default_image", "Image of machines that name none."),
            _changed("default_flavor", "Flavor of machines that name none."),
            _many("extra", params_cloud.pairs, "Options of the driver to replace; an empty value removes one."),
            _flag("synchronous", "Accepted; this is done at once.", default=True),
        ),
    ),
    Row(
        name="provider_unregister",
        says="Forget a provider that no machine and no cluster uses.",
        effect=Effect.CHANGE,
        params=(PROVIDER, _flag("synchronous", "Accepted; this is done at once.", default=True)),
    ),
    Row(
        name="provider_list",
        says="List the providers, or show one; never their passwords.",
        effect=Effect.READ,
        params=(Param(name="provider_id", read=params_cloud.provider_name, says="Only this one.", required=False),),
    ),
    Row(
        name="check_provider",
        says="Try a provider out: credentials, rights, image, network; change nothing.",
        effect=Effect.READ,
        params=(PROVIDER,),
    ),
    Row(name="image_list", says="List a provider's images.", effect=Effect.READ, params=(PROVIDER,)),
    Row(name="flavor_list", says="List a provider's flavors.", effect=Effect.READ, params=(PROVIDER,)),
    Row(name="network_list", says="List a provider's networks.", effect=Effect.READ, params=(PROVIDER,)),
    Row(
        name="machine_create",
        spellings=("server_create",),
        says="Create machines, all or none.",
        effect=Effect.CHANGE,
        params=_CREATE,
    ),
    Row(
        name="machine_destroy",
        spellings=("server_destroy",),
        says="Destroy a machine and its snapshots, and release its public address.",
        effect=Effect.CHANGE,
        params=(
            PROVIDER,
            MACHINE,
            SKIP_STORE,
            _flag("force", "Whether to forget the machine although the cloud refuses.", default=False),
            SYNCHRONOUS,
        ),
    ),
    Row(
        name="machine_list",
        spellings=("server_list",),
        says="List a provider's machines; with skip_store as the cloud knows them.",
        effect=Effect.READ,
        params=(
            PROVIDER,
            SKIP_STORE,
            _many(
                "generic_filters",
                params_cloud.filters("uuid", "name", "id", "state", "zone", "address"),
                "key=value, all of which the machine has: uuid, name, id, state, zone, address.",
            ),
            _many("meta_filters", params_cloud.meta, "key=value, all of which the machine has as meta."),
        ),
    ),
    Row(
        name="snapshot_create",
        says="Make an image of a machine.",
        effect=Effect.CHANGE,
        params=(PROVIDER, MACHINE, SKIP_STORE, WAIT, SYNCHRONOUS),
    ),
    Row(
        name="snapshot_destroy",
        says="Destroy all snapshots of a machine.",
        effect=Effect.CHANGE,
        params=(PROVIDER, MACHINE, SKIP_STORE, SYNCHRONOUS),
    ),
)
