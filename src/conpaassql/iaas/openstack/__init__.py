"""OpenStack: Keystone v3, Nova, Glance and Neutron, with the rights of an ordinary user of a project.

A VM is known by its metadata (owner, name, tags), never by its name alone: names need not be unique
in Nova.  Two managers that make the same VM at the same moment both look afterwards, keep the
older one and remove the other.

Nova stops a VM politely first; so ``power_off`` is at once only for images with the property
``os_shutdown_timeout = 0``.  The manager's look says when the VM is down.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

from conpaassql.errors import IaasBusy, IaasDenied, IaasError, IaasMissing, IaasQuota, IaasRefused
from conpaassql.iaas.openstack import checks, floating, images, servers
from conpaassql.libcloudvm import choose, marks
from conpaassql.libcloudvm.answers import Json, part
from conpaassql.libcloudvm.locks import Names
from conpaassql.libcloudvm.options import chosen, seconds
from conpaassql.libcloudvm.wire import Nova, Reach
from conpaassql.model import Flavor, Vm, VmSpec, VmState
from conpaassql.offers import Finding, Image, Network, Nic, OfferedFlavor, Snapshot

NAMES = ("OPENSTACK",)
OPTIONS: Mapping[str, str] = {
    "OPENSTACK_URL": "",
    "OPENSTACK_USER": "",
    "OPENSTACK_PASSWORD": "",
    "OPENSTACK_TENANT": "",
    "OPENSTACK_DOMAIN": "Default",
    "OPENSTACK_TENANT_DOMAIN_ID": "default",
    "OPENSTACK_REGION": "",
    "OPENSTACK_NETWORK": "",
    "OPENSTACK_PUBLIC_NETWORK": "",
    "OPENSTACK_IMAGE_ID": "",
    "OPENSTACK_SIZE_ID": "",
    "OPENSTACK_KEY_NAME": "",
    "OPENSTACK_SECURITY_GROUPS": "",
    "OPENSTACK_CA_FILE": "",
    "OPENSTACK_TIMEOUT_S": "30",
}

_REQUIRED = ("OPENSTACK_URL", "OPENSTACK_USER", "OPENSTACK_PASSWORD", "OPENSTACK_TENANT")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_SOFT = {"OpenStack-API-Version": "compute 2.15"}  # the first Nova with soft-anti-affinity


class Driver:
    """OPENSTACK, for one owner.

    Implements ``iaas.Driver``, ``Power``, ``Catalog``, ``Snapshots``, ``Resizing``, ``PublicAddresses``,
    ``Labels`` and ``Checks``.  ``VmSpec.template`` is not used: everything it could say is in the spec.
    """

    def __init__(self, options: Mapping[str, str], owner: str) -> None:
        """Read the options; the cloud is not called before the first order.

        Raises:
            ConfigError: an option is missing or wrong.
        """
        self._chosen = chosen(options, OPTIONS, _REQUIRED)
        self._owner = owner
        self._names = Names()
        self._timeout_s = seconds("OPENSTACK_TIMEOUT_S", self._chosen["OPENSTACK_TIMEOUT_S"])
        self._nova = _nova(self._chosen, self._timeout_s)

    def create(self, spec: VmSpec) -> str:
        """Ask for a server, unless this owner has one of this name."""
        with self._names.held(spec.name, 2 * self._timeout_s):
            if twins := self._named(spec.name):
                return str(twins[0]["id"])
            made = self._nova.call("compute", "POST", "/servers", self._order(spec)).body
            return self._only(spec.name, str(part(made, "server", "id")))

    def list(self) -> Sequence[Vm]:
        """List the owner's servers, a thousand per call; a size that waits to be confirmed is."""
        mine = list(self._servers())
        for server in mine:
            if server.get("status") == "VERIFY_RESIZE":
                with suppress(IaasError):  # the next look tries again
                    self._act(str(server["id"]), {"confirmResize": None})
        return [servers.vm(server) for server in mine]

    def delete(self, vm_id: str) -> None:
        """Give back the VM's public address, then ask for its end."""
        if not _ID.fullmatch(vm_id):
            return
        server = self._server(vm_id)
        floating.release(self._nova, self._owner, vm_id)  # also of a VM that somebody else has removed
        if server is None:
            return
        self._remove(vm_id)
        if group := servers.pairs(server).get(servers.GROUP):
            self._disband(group, vm_id)

    def power_off(self, vm_id: str) -> None:
        """Stop a server; Nova may ask its system first."""
        server = self._known(vm_id)
        if servers.state(str(server["status"]), "") is not VmState.STOPPED:
            self._act(vm_id, {"os-stop": None})

    def power_on(self, vm_id: str) -> None:
        """Start a server, or wake it in the way that its state asks for."""
        server = self._known(vm_id)
        if action := servers.WAKING.get(str(server["status"])):
            self._act(vm_id, {action: None})

    def images(self) -> Sequence[Image]:
        """List the images that can be used now."""
        return images.offered(self._nova)

    def flavors(self) -> Sequence[OfferedFlavor]:
        """List the flavors of this project."""
        found = self._nova.pages("compute", "/flavors/detail", "flavors")
        return [_flavor(flavor) for flavor in found]

    def networks(self) -> Sequence[Network]:
        """List the networks; only administrators are told how many addresses are free."""
        found = self._nova.pages("network", "/v2.0/networks", "networks")
        return [Network(id=str(network["id"]), name=str(network.get("name", ""))) for network in found]

    def snapshot(self, vm_id: str, name: str) -> str:
        """Ask for an image of a server's first disk."""
        with self._names.held(f"snapshot {name}", 2 * self._timeout_s):
            return images.snapshot(self._nova, self._owner, self._known(vm_id), name)

    def snapshots(self) -> Sequence[Snapshot]:
        """List the images that this owner made of servers."""
        return images.snapshots(self._nova, self._owner)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove such an image."""
        if _ID.fullmatch(snapshot_id):
            images.delete(self._nova, self._owner, snapshot_id)

    def resize(self, vm_id: str, flavor: Flavor) -> None:
        """Ask for the smallest flavor that is large enough; Nova restarts the VM, and the next look confirms."""
        server = self._known(vm_id)
        if server.get("status") == "VERIFY_RESIZE":
            self._act(vm_id, {"confirmResize": None})
            raise IaasBusy(f"{vm_id} has just got its last size; ask again.")
        offered = self.flavors()
        now = choose.named("flavor", offered, str(part(server, "flavor", "id")))
        size = replace(flavor, disk_mib=max(flavor.disk_mib, now.disk_gib * 1024))
        target = choose.fitting(offered, size)
        if target.id != now.id:
            self._act(vm_id, {"resize": {"flavorRef": target.id}})

    def assign(self, vm_id: str, pool: str) -> str:
        """Return the VM's floating address, taken from the external network ``pool``, else OPENSTACK_PUBLIC_NETWORK."""
        server = self._known(vm_id)
        network = pool or self._chosen["OPENSTACK_PUBLIC_NETWORK"]
        if not network:
            raise IaasRefused("no network for public addresses is named; set OPENSTACK_PUBLIC_NETWORK.")
        with self._names.held(f"address {vm_id}", 2 * self._timeout_s):
            return servers.addresses(server)[1] or floating.assign(
                self._nova, self._owner, vm_id, self._network(network)
            )

    def release(self, vm_id: str) -> None:
        """Give the VM's floating address back."""
        self._known(vm_id)
        floating.release(self._nova, self._owner, vm_id)

    def label(self, vm_id: str, labels: Mapping[str, str]) -> None:
        """Keep the words in the server's metadata, where every dashboard shows them."""
        wanted = marks.labelled(labels)
        had = marks.labelled(marks.labels(servers.pairs(self._known(vm_id))))
        path = f"/servers/{vm_id}/metadata"
        if wanted:
            self._nova.call("compute", "POST", path, {"metadata": wanted})
        for key in had.keys() - wanted.keys():
            self._nova.call("compute", "DELETE", f"{path}/{quote(key)}")

    def check(self, spec: VmSpec) -> Iterator[Finding]:
        """Look at login, quota, image, flavor, network, groups, key and user data."""
        yield from checks.findings(self._nova, spec, self._chosen, self._choice)

    def _order(self, spec: VmSpec) -> dict[str, Json]:
        """Return the request for a VM; a server group is only made when nothing else is wrong."""
        servers.refuse(spec.extras)
        choice = self._choice(spec)
        order = servers.order(spec, self._owner, choice)
        if not spec.extras.apart:
            return order
        return servers.order(spec, self._owner, replace(choice, group=self._group(spec.extras.apart)))

    def _choice(self, spec: VmSpec) -> servers.Choice:
        if spec.extras.public_network:
            self._network(spec.extras.public_network)  # its address is taken later; that it is wrong is said now
        given = tuple(part.strip() for part in self._chosen["OPENSTACK_SECURITY_GROUPS"].split(","))
        return servers.Choice(
            image=self._image(spec.image),
            flavor=self._flavor(spec),
            networks=tuple(self._cards(spec)),
            key_name=spec.extras.key_name or self._chosen["OPENSTACK_KEY_NAME"],
            security_groups=spec.extras.security_groups or tuple(name for name in given if name),
        )

    def _image(self, wanted: str) -> str:
        wanted = wanted or self._chosen["OPENSTACK_IMAGE_ID"]
        if not wanted:
            raise IaasMissing("no image is named; set OPENSTACK_IMAGE_ID.")
        return wanted if _ID.fullmatch(wanted) else images.named(self._nova, wanted)

    def _flavor(self, spec: VmSpec) -> str:
        wanted = spec.flavor_id or self._chosen["OPENSTACK_SIZE_ID"]
        offered = self.flavors()
        if wanted:
            return choose.named("flavor", offered, wanted).id
        return choose.fitting(offered, spec.flavor).id

    def _cards(self, spec: VmSpec) -> Iterator[dict[str, str]]:
        """Yield the network cards; the network is looked up only where it goes by a name."""
        default = spec.network or self._chosen["OPENSTACK_NETWORK"]
        cards = spec.extras.nics or ((Nic(network=default),) if default else ())
        for card in (*cards, *spec.extras.public_nics):
            yield servers.nic(card, "" if card.port else self._network(card.network))

    def _network(self, wanted: str) -> str:
        if _ID.fullmatch(wanted):
            return wanted
        return choose.named("network", self.networks(), wanted).id

    def _group(self, apart: str) -> str:
        """Return the server group of VMs that stand apart, or nothing where Nova has none to give."""
        name = f"{marks.PREFIX}{self._owner}_{apart}"
        found = self._nova.call("compute", "GET", "/os-server-groups").body.get("server_groups", [])
        if known := [str(group["id"]) for group in found if group["name"] == name]:
            return min(known)
        wanted = {"server_group": {"name": name, "policies": ["soft-anti-affinity"]}}
        try:
            made = self._nova.call("compute", "POST", "/os-server-groups", wanted, headers=_SOFT)
        except (IaasQuota, IaasDenied, IaasRefused):
            return ""  # apart where the cloud can; it cannot
        return str(part(made.body, "server_group", "id"))

    def _disband(self, group: str, vm_id: str) -> None:
        """Remove a server group whose last VM goes; they are few, by quota."""
        try:
            found = part(self._nova.call("compute", "GET", f"/os-server-groups/{group}").body, "server_group")
            if set(found.get("members") or ()) <= {vm_id}:
                self._nova.call("compute", "DELETE", f"/os-server-groups/{group}")
        except IaasMissing:
            return

    def _servers(self, **params: str) -> Iterator[Mapping[str, Json]]:
        every = self._nova.pages("compute", "/servers/detail", "servers", params)
        return (server for server in every if servers.is_of(server, self._owner))

    def _named(self, name: str) -> Sequence[Mapping[str, Json]]:
        """Return the servers of this name, the oldest first, without those that are going."""
        # Nova reads the name as a pattern, and anywhere in it; what it finds too much falls away here.
        params = {"name": name} if re.fullmatch(r"[\w-]+", name, re.ASCII) else {}
        found = [server for server in self._servers(**params) if servers.vm(server).name == name]
        there = [server for server in found if servers.vm(server).state is not VmState.DELETING]
        return sorted(there, key=lambda server: (str(server.get("created", "")), str(server["id"])))

    def _only(self, name: str, vm_id: str) -> str:
        """Return the server of this name that stays; another manager may have made one at the same moment."""
        twins = [str(server["id"]) for server in self._named(name)] or [vm_id]
        for twin in twins[1:]:
            self._remove(twin)
        return twins[0]

    def _server(self, vm_id: str) -> Mapping[str, Json] | None:
        """Return a server of this owner; None: there is none, or it is another's."""
        if not _ID.fullmatch(vm_id):
            return None
        try:
            found = self._nova.call("compute", "GET", f"/servers/{vm_id}").body
        except IaasMissing:
            return None
        server: Mapping[str, Json] = part(found, "server")
        return server if servers.is_of(server, self._owner) else None

    def _known(self, vm_id: str) -> Mapping[str, Json]:
        server = self._server(vm_id)
        if server is None:
            raise IaasMissing(f"there is no VM {vm_id}.", vm=vm_id)
        return server

    def _act(self, vm_id: str, action: Mapping[str, Json]) -> None:
        self._nova.call("compute", "POST", f"/servers/{vm_id}/action", action)

    def _remove(self, vm_id: str) -> None:
        try:
            self._nova.call("compute", "DELETE", f"/servers/{vm_id}")
        except IaasMissing:
            return
        except IaasError as exc:
            if exc.details.get("status") != 500:
                raise
            # Right after a resize Nova may fail once, and do it when asked again.
            self._nova.call("compute", "DELETE", f"/servers/{vm_id}")


def _nova(chosen: Mapping[str, str], timeout_s: float) -> Nova:
    reach = Reach(
        cloud="OPENSTACK",
        url=chosen["OPENSTACK_URL"],
        user=chosen["OPENSTACK_USER"],
        password=chosen["OPENSTACK_PASSWORD"],
        ca_file=chosen["OPENSTACK_CA_FILE"],
        timeout_s=timeout_s,
    )
    return Nova(
        reach,
        tenant=chosen["OPENSTACK_TENANT"],
        domain=chosen["OPENSTACK_DOMAIN"],
        tenant_domain_id=chosen["OPENSTACK_TENANT_DOMAIN_ID"],
        region=chosen["OPENSTACK_REGION"],
    )


def _flavor(flavor: Mapping[str, Json]) -> OfferedFlavor:
    return OfferedFlavor(
        id=str(flavor["id"]),
        name=str(flavor.get("name", "")),
        vcpus=float(flavor.get("vcpus") or 0),
        ram_mib=int(flavor.get("ram") or 0),
        disk_gib=int(flavor.get("disk") or 0),
        swap_mib=int(flavor.get("swap") or 0),  # an empty text for none
    )
