"""What a check of an OpenStack project looks at; nothing is changed.

Source: Compute API reference, "Show rate and absolute limits".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote

from conpaassql.errors import Error, IaasMissing, IaasQuota
from conpaassql.iaas.openstack import servers
from conpaassql.libcloudvm.answers import Json, part
from conpaassql.libcloudvm.wire import Nova
from conpaassql.model import VmSpec
from conpaassql.offers import Extras, Finding

Choose = Callable[[VmSpec], servers.Choice]
_LIMITS = (("instances", "maxTotalInstances", "totalInstancesUsed"), ("processors", "maxTotalCores", "totalCoresUsed"))


def findings(nova: Nova, spec: VmSpec, chosen: Mapping[str, str], choose: Choose) -> Iterator[Finding]:
    """Yield a finding for each thing that a VM of ``spec`` needs."""
    login = _found(
        "login",
        lambda: _limits(nova),
        f"Check OPENSTACK_URL ({chosen['OPENSTACK_URL']}), user, password, tenant, domain and region.",
        "The login is accepted: ",
    )
    yield replace(login, fatal=not login.ok)
    if not login.ok:
        return
    yield _found("quota", lambda: _room(nova), "Remove VMs that are not needed, or ask for a larger quota.")
    bare = replace(spec, extras=Extras(), network="")
    cure = "Name an image and a flavor that this project can use: OPENSTACK_IMAGE_ID, OPENSTACK_SIZE_ID."
    yield _found("image-and-flavor", lambda: _sizes(nova, choose(bare)), cure)
    cure = "Name a network that this project can use in OPENSTACK_NETWORK."
    yield _found("network", lambda: _networks(nova, choose(spec)), cure)
    yield _found("security-groups", lambda: _groups(nova, choose(spec)), "Make the group, or name others.")
    yield _found("key", lambda: _key(nova, choose(spec)), "Import the key pair, or set OPENSTACK_KEY_NAME.")
    yield _found("user-data", lambda: _order(spec, choose(spec)), "Hand over less, or let the VM fetch it.")


def _found(code: str, look: Callable[[], str], cure: str, says: str = "") -> Finding:
    try:
        return Finding(code=code, ok=True, says=says + look())
    except Error as exc:
        return Finding(code=code, ok=False, says=exc.says, cure=cure)


def _absolute(nova: Nova) -> Mapping[str, Json]:
    found: Mapping[str, Json] = part(nova.call("compute", "GET", "/limits").body, "limits", "absolute")
    return found


def _limits(nova: Nova) -> str:
    return f"{_absolute(nova).get('totalInstancesUsed', 0)} VMs are there."


def _room(nova: Nova) -> str:
    limits = _absolute(nova)
    for word, most, used in _LIMITS:
        if int(limits.get(most, -1)) >= 0 and int(limits.get(used, 0)) >= int(limits[most]):
            raise IaasQuota(f"The project may have {limits[most]} {word} and has as many.")
    return "The quota has room for another VM."


def _sizes(nova: Nova, choice: servers.Choice) -> str:
    image = nova.call("image", "GET", f"/v2/images/{choice.image}").body
    if image.get("status") != "active":
        raise IaasMissing(f"The image {image.get('name')} is {image.get('status')}.")
    flavor = part(nova.call("compute", "GET", f"/flavors/{quote(choice.flavor, safe='')}").body, "flavor")
    for word, needs, has in (("memory", "min_ram", "ram"), ("disk", "min_disk", "disk")):
        if int(image.get(needs) or 0) > int(flavor.get(has) or 0) > 0:
            raise IaasMissing(f"The image {image.get('name')} needs more {word} than the flavor {flavor['name']} has.")
    return f"The image {image.get('name')} and the flavor {flavor.get('name')} go together."


def _networks(nova: Nova, choice: servers.Choice) -> str:
    for card in choice.networks:
        kind = "ports" if "port" in card else "networks"
        nova.call("network", "GET", f"/v2.0/{kind}/{card.get('port') or card['uuid']}")
    return "The networks are there." if choice.networks else "No network is named: Nova takes the project's only one."


def _groups(nova: Nova, choice: servers.Choice) -> str:
    found = nova.pages("network", "/v2.0/security-groups", "security_groups")
    known = {str(value) for group in found for value in (group["id"], group.get("name"))}
    for name in choice.security_groups:
        if name not in known:
            raise IaasMissing(f"There is no security group {name}.")
    return "The security groups are there."


def _key(nova: Nova, choice: servers.Choice) -> str:
    if not choice.key_name:
        return "No key pair is named; nobody can log in by one."
    nova.call("compute", "GET", f"/os-keypairs/{quote(choice.key_name, safe='')}")
    return f"The key pair {choice.key_name} is there."


def _order(spec: VmSpec, choice: servers.Choice) -> str:
    servers.order(spec, "check", choice)
    return "What the VM is told fits."
