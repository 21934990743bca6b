"""``conpaassql provider``, ``check``, ``image``, ``flavor``, ``network``: clouds and what they offer."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from conpaassql.client import asking, ends, options, passwords, tables
from conpaassql.client.asking import Asking
from conpaassql.client.ends import End
from conpaassql.client.tables import Column, column

PROVIDERS = (
    column("PROVIDER", "provider_id"),
    column("TYPE", "provider_type"),
    column("USER", "username"),
    column("TENANT", "tenant"),
    column("IMAGE", "default_image"),
    column("FLAVOR", "default_flavor"),
    column("URL", "url"),
    column("EXTRA", "extra"),
    column("SAYS", "says"),
)
IMAGES = (
    column("ID", "id"),
    column("NAME", "name"),
    column("MINDISK", "mindisk", right=True),
    column("MINRAM", "minram", right=True),
)
FLAVORS = (
    column("ID", "id"),
    column("NAME", "name"),
    *(column(key.upper(), key, right=True) for key in ("vcpus", "ram", "disk", "swap")),
)
NETWORKS = (column("ID", "id"), column("NAME", "name"), column("FREE", "free", right=True))
FINDINGS = (
    Column(title="RESULT", value=lambda finding: _result(finding)),
    column("CHECK", "code"),
    column("FINDING", "says"),
)
PROVIDER = click.argument("provider_id")
SYNCHRONOUS = options.yes_no("--synchronous", "Wait until it is done; no: answer with a job's number.", default=True)


@click.group()
def provider() -> None:
    """Clouds where machines come from.

    The provider "default" is the [iaas] section of the manager's configuration, and always there.
    """


@provider.command()
@PROVIDER
@click.argument("username")
@click.argument("password")
@click.argument("url")
@click.argument("tenant", default="")
@options.text("--provider-type", "OPENSTACK (the default), OPENNEBULA, EC2, LOCAL, DUMMY, ...", "TYPE")
@options.text("--default-image", "Image of machines for which none is chosen: its name or id.", "IMAGE")
@options.text(
    "--default-flavor", "Flavor of machines for which none is chosen: its name or id, or KEY=VALUE,...", "FLAVOR"
)
@options.many("--extra", says="An option of the driver: its name in [iaas], or the end of it, such as region=west.")
@SYNCHRONOUS
@asking.asking
def register(ask: Asking, *, password: str, extra: tuple[str, ...], synchronous: bool, **values: str) -> End:
    """Tell the manager of a cloud.

    PASSWORD may be "-" (asked for at the terminal, or read from standard input) or "@FILE"; as it
    is, other users of this machine can see it. The manager keeps it encrypted and never shows it.

    \b
    Example:
      conpaassql provider register one.example oneuser - http://one.example:2633/RPC2 \\
          --provider_type=OPENNEBULA --default_image="Debian 12"
    """
    driver = options.pairs("--extra", extra)
    given: dict[str, Any] = {**values, "password": passwords.read(password), "extra": driver or None}
    outcome = asking.order(ask, "provider_register", wait=synchronous, **given)
    return asking.accepted(ask, outcome, f"Provider {values['provider_id']} is registered.")


@provider.command()
@PROVIDER
@options.text("--username", "The cloud user's name.", default=None)
@options.text("--password", "The password or token: -, @FILE or itself.", "PASSWORD", default=None)
@options.text("--url", "Another address of the same cloud.", "URL", default=None)
@options.text("--tenant", "The project that owns the machines.", default=None)
@options.text("--default-image", "Image of machines for which none is chosen.", "IMAGE", default=None)
@options.text("--default-flavor", "Flavor of machines for which none is chosen.", "FLAVOR", default=None)
@options.many("--extra", says="An option of the driver, in the place of the one that there is; KEY= removes it.")
@SYNCHRONOUS
@asking.asking
def update(
    ask: Asking, *, password: str | None, extra: tuple[str, ...], synchronous: bool, **values: str | None
) -> End:
    """Change the login or the defaults of a cloud, also while clusters and machines use it.

    Only what is given changes; an empty value ("--tenant=") is one. The manager uses it from its next call
    on. The type stays. PASSWORD may be "-" (asked for at the terminal, or read from standard input) or "@FILE".

    \b
    Example, when a login token has expired:
      conpaassql provider update one.example --password -
    """
    secret = None if password is None else passwords.read(password)
    driver = options.pairs("--extra", extra)
    given: dict[str, Any] = {**values, "password": secret, "extra": driver}
    outcome = asking.order(ask, "provider_update", wait=synchronous, empty=True, **given)
    return asking.accepted(ask, outcome, f"Provider {values['provider_id']} is changed.")


@provider.command()
@PROVIDER
@SYNCHRONOUS
@asking.asking
def unregister(ask: Asking, *, provider_id: str, synchronous: bool) -> End:
    """Forget a cloud; refused while machines or clusters use it."""
    outcome = asking.order(ask, "provider_unregister", wait=synchronous, provider_id=provider_id)
    return asking.accepted(ask, outcome, f"Provider {provider_id} is forgotten.")


@provider.command("list")
@options.text("--provider-id", "Show this one only.")
@asking.asking
def list_(ask: Asking, *, provider_id: str) -> End:
    """List the clouds that the manager knows; a password is never shown."""
    result = asking.look(ask, "provider_list", provider_id=provider_id)
    return asking.show(ask, result, PROVIDERS, result["providers"])


@click.group()
def image() -> None:
    """What machines can be made from."""


@click.group()
def flavor() -> None:
    """Sizes of machines that have names.

    Where a cloud has none, sizes are chosen freely.
    """


@click.group()
def network() -> None:
    """Networks that machines can be on."""


def _offers(group: click.Group, columns: tuple[Column, ...], says: str) -> None:
    """Give a group its ``list``: all three lists are alike."""
    kind = str(group.name)

    def listed(ask: Asking, *, provider_id: str) -> End:
        result = asking.look(ask, f"{kind}_list", provider_id=provider_id)
        return asking.show(ask, result, columns, result[f"{kind}s"])

    group.command("list", help=says)(PROVIDER(asking.asking(listed)))


_offers(image, IMAGES, "List the images of a cloud. MINDISK is in GiB, MINRAM in MiB; 0: the image does not say.")
_offers(flavor, FLAVORS, "List the flavors of a cloud. RAM and SWAP are in MiB, DISK in GiB.")
_offers(network, NETWORKS, "List the networks of a cloud, and how many addresses are free.")


@click.group()
def check() -> None:
    """Try something out before it is used; nothing is changed."""


@check.command("provider")
@click.argument("name", default="default")
@asking.asking
def check_provider(ask: Asking, *, name: str) -> End:
    """Try a cloud out: login, rights, image, network, addresses, template; say what to fix.

    NAME is "default", the [iaas] section of the manager's configuration, unless it is given.
    The exit status is 1 when anything is wrong.
    """
    result = asking.look(ask, "check_provider", provider_id=name)
    findings = result["findings"]
    if ask.json:
        ends.show(result)
    else:
        print(tables.table(FINDINGS, _with_cures(findings)), end="")
    return End.DONE if all(finding["ok"] for finding in findings) else End.REFUSED


def _with_cures(findings: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield each finding, and in a line below it what to do when it is not well."""
    for finding in findings:
        yield finding
        if not finding["ok"] and finding["cure"]:
            yield {"says": f"-> {finding['cure']}"}


def _result(finding: Mapping[str, Any]) -> str:
    if "ok" not in finding:
        return " "
    return "ok" if finding["ok"] else "FATAL" if finding.get("fatal") else "WRONG"
