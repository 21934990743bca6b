"""A pretended OpenStack over HTTP: as much of Keystone, Nova, Glance and Neutron as a driver needs, with a memory.

Servers go BUILD -> ACTIVE when they are looked at for the ``looks``-th time, so that no test waits
for a clock.  ``fail`` prepares refusals; ``lose`` does what is asked and then drops the connection.
"""

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Json = Any

USER, PASSWORD, TENANT = "tester", "very-secret-password", "project"
IMAGE = "11111111-1111-4111-8111-111111111111"
NETWORK = "22222222-2222-4222-8222-222222222222"
PUBLIC = "33333333-3333-4333-8333-333333333333"
IMMUTABLE = "cannot '{}' instance while it is in vm_state {}"


class Refused(Exception):
    """A service says no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True, kw_only=True)
class Fault:
    """A refusal that was prepared: for calls whose method and path match, so many times."""

    call: str
    status: int
    text: str
    times: int
    after: bool = False  # the call is done first
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Cloud:
    """The memory of the pretended cloud."""

    url: str = ""
    looks: int = 1
    page: int = 1000
    instances: int = 100  # quota
    free_addresses: int = 100
    servers: dict[str, dict[str, Json]] = field(default_factory=dict)
    images: dict[str, dict[str, Json]] = field(default_factory=dict)
    floating: dict[str, dict[str, Json]] = field(default_factory=dict)
    groups: dict[str, dict[str, Json]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    orders: list[dict[str, Json]] = field(default_factory=list)
    counter: int = 10
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.add_image("debian-12", IMAGE)

    @property
    def options(self) -> dict[str, str]:
        """The options of a driver for this cloud."""
        return {
            "OPENSTACK_URL": self.url,
            "OPENSTACK_USER": USER,
            "OPENSTACK_PASSWORD": PASSWORD,
            "OPENSTACK_TENANT": TENANT,
            "OPENSTACK_NETWORK": "private",
            "OPENSTACK_PUBLIC_NETWORK": "public",
            "OPENSTACK_IMAGE_ID": "debian-12",
        }

    def add_image(self, name: str, image_id: str = "", status: str = "active", **more: Json) -> str:
        """Put an image into Glance."""
        image_id = image_id or str(uuid.uuid4())
        created = "2024-05-01T10:00:00Z"
        image = {"id": image_id, "name": name, "status": status, "min_disk": 0, "min_ram": 0, "created_at": created}
        self.images[image_id] = image | more
        return image_id

    def fail(self, call: str, status: int, text: str = "no", times: int = 1, **headers: str) -> None:
        """Refuse the next calls whose ``METHOD path`` the pattern ``call`` finds."""
        self.faults.append(Fault(call=call, status=status, text=text, times=times, headers=headers))

    def lose(self, call: str, times: int = 1) -> None:
        """Do the next such call, and answer nothing."""
        self.faults.append(Fault(call=call, status=0, text="", times=times, after=True))

    def number(self) -> int:
        """Return a number that has not been given yet."""
        self.counter += 1
        return self.counter


FLAVORS = [
    {"id": "1", "name": "m1.tiny", "vcpus": 1, "ram": 512, "disk": 12, "swap": ""},
    {"id": "2", "name": "m1.small", "vcpus": 1, "ram": 2048, "disk": 20, "swap": 512},
    {"id": "3", "name": "m1.large", "vcpus": 4, "ram": 8192, "disk": 80, "swap": ""},
]
NETWORKS = [
    {"id": NETWORK, "name": "private", "router:external": False},
    {"id": PUBLIC, "name": "public", "router:external": True},
]
GROUPS = [{"id": "44444444-4444-4444-8444-444444444444", "name": "default"}]

Answer = tuple[int, Json, dict[str, str]]
Row = tuple[str, Callable[..., Answer]]


def listed(key: str, items: list[Json], cloud: Cloud, query: Mapping[str, str], *, next_key: str = "") -> Answer:
    """Answer a page of a list, after the marker."""
    ids = [item["id"] for item in items]
    start = ids.index(query["marker"]) + 1 if query.get("marker") in ids else 0
    page = items[start : start + cloud.page]
    body: dict[str, Json] = {key: page}
    if start + cloud.page < len(items):
        body[next_key or f"{key}_links"] = "more" if next_key else [{"rel": "next", "href": "http://unused/"}]
    return 200, body, {}


def login(cloud: Cloud, body: Json, _query: Mapping[str, str]) -> Answer:
    user = body["auth"]["identity"]["password"]["user"]
    project = body["auth"]["scope"]["project"]
    told = (user["name"], user["password"], user["domain"]["name"], project["name"], project["domain"]["id"])
    if told != (USER, PASSWORD, "Default", TENANT, "default"):
        raise Refused(401, "The request you have made requires authentication.")
    token = uuid.uuid4().hex
    cloud.tokens.add(token)
    return 201, _token(cloud), {"X-Subject-Token": token}


def show_token(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    return 200, _token(cloud), {"X-Subject-Token": query["token"]}


def _token(cloud: Cloud) -> Json:
    catalog = [
        {"type": kind, "name": f"my-{kind}", "id": kind, "endpoints": [_endpoint(f"{cloud.url}{path}")]}
        for kind, path in (("compute", "/compute/v2.1"), ("image", "/image"), ("network", "/network/"))
    ]
    told_back = {"expires_at": "2999-01-01T00:00:00.000000Z", "catalog": catalog, "user": {}, "roles": []}
    return {"token": told_back}


def _endpoint(url: str) -> dict[str, str]:
    return {"id": "1", "interface": "public", "region": "Somewhere", "region_id": "Somewhere", "url": url}


def create_server(cloud: Cloud, body: Json, _query: Mapping[str, str]) -> Answer:
    wanted = body["server"]
    cloud.orders.append(body)
    if len(cloud.servers) >= cloud.instances:
        raise Refused(403, "Quota exceeded for instances: Requested 1, but already used all of instances")
    if wanted["imageRef"] not in cloud.images:
        raise Refused(400, f"Image {wanted['imageRef']} could not be found.")
    if len(wanted.get("user_data", "")) > 65535:
        raise Refused(400, f"Invalid input for field/attribute user_data. Value: {wanted['user_data']}. Too long")
    if any(
        len(value) > 255 or not re.fullmatch(r"[a-zA-Z0-9-_:. ]{1,255}", key)
        for key, value in wanted["metadata"].items()
    ):
        raise Refused(400, "Invalid input for field/attribute metadata.")
    for group in wanted.get("security_groups", []):
        if group["name"] not in [known["name"] for known in GROUPS]:
            raise Refused(400, f"Unable to find security_group with name or id '{group['name']}'")
    if wanted.get("key_name", "known") != "known":
        raise Refused(400, "Invalid key_name provided.")
    number = cloud.number()
    made = {
        "id": str(uuid.uuid4()),
        "name": wanted["name"],
        "status": "BUILD",
        "metadata": dict(wanted["metadata"]),
        "created": f"2024-05-01T10:00:{number % 60:02d}Z",
        "addresses": {},
        "flavor": {"id": wanted["flavorRef"]},
        "image": {"id": wanted["imageRef"]},
        "hostId": f"{number:056x}",
        "OS-EXT-STS:task_state": "spawning",
        "OS-EXT-AZ:availability_zone": wanted.get("availability_zone", "nova"),
        "_looks": 0,
        "_address": f"10.9.{number // 250}.{number % 250 + 1}",
    }
    cloud.servers[made["id"]] = made
    if group := body.get("os:scheduler_hints", {}).get("group"):
        cloud.groups[group]["members"].append(made["id"])
    return 202, {"server": {"id": made["id"], "links": []}}, {}


def step(cloud: Cloud, server: dict[str, Json]) -> None:
    """Let a server get on with what it is doing, as seen by one look."""
    server["_looks"] += 1
    if server["status"] == "BUILD" and server["_looks"] >= cloud.looks and server["_address"]:
        server |= {"status": "ACTIVE", "OS-EXT-STS:task_state": None}
        entry = {"addr": server["_address"], "version": 4, "OS-EXT-IPS:type": "fixed"}
        server["addresses"] = {"private": [entry]}
    elif server["status"] == "RESIZE":
        server |= {"status": "VERIFY_RESIZE", "OS-EXT-STS:task_state": None}


def shown(cloud: Cloud, server: dict[str, Json]) -> dict[str, Json]:
    found = {key: value for key, value in server.items() if not key.startswith("_")}
    ports = [entry for entry in cloud.floating.values() if entry["port_id"] == f"port-{server['id']}"]
    extra = [{"addr": entry["floating_ip_address"], "version": 4, "OS-EXT-IPS:type": "floating"} for entry in ports]
    if extra:
        found["addresses"] = {name: [*entries, *extra] for name, entries in server["addresses"].items()}
    return found


def list_servers(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    found = [server for server in cloud.servers.values() if re.search(query.get("name", ""), server["name"])]
    for server in found:
        step(cloud, server)
    return listed("servers", [shown(cloud, server) for server in found], cloud, query)


def server_of(cloud: Cloud, server_id: str) -> dict[str, Json]:
    if server_id not in cloud.servers:
        raise Refused(404, f"Instance {server_id} could not be found.")
    return cloud.servers[server_id]


def show_server(cloud: Cloud, _body: Json, _query: Mapping[str, str], server_id: str) -> Answer:
    return 200, {"server": shown(cloud, server_of(cloud, server_id))}, {}


def delete_server(cloud: Cloud, _body: Json, _query: Mapping[str, str], server_id: str) -> Answer:
    server_of(cloud, server_id)
    del cloud.servers[server_id]
    for entry in cloud.floating.values():
        if entry["port_id"] == f"port-{server_id}":
            entry["port_id"] = None  # Neutron keeps the address; it costs money
    for group in cloud.groups.values():
        group["members"] = [member for member in group["members"] if member != server_id]
    return 204, None, {}


def metadata(cloud: Cloud, body: Json, _query: Mapping[str, str], server_id: str) -> Answer:
    server_of(cloud, server_id)["metadata"] |= body["metadata"]
    return 200, {"metadata": server_of(cloud, server_id)["metadata"]}, {}


def drop_metadata(cloud: Cloud, _body: Json, _query: Mapping[str, str], server_id: str, key: str) -> Answer:
    if server_of(cloud, server_id)["metadata"].pop(key, None) is None:
        raise Refused(404, "Metadata item was not found")
    return 204, None, {}


# action -> (the status it needs, the status it leads to)
ACTIONS = {
    "os-stop": ("ACTIVE", "SHUTOFF"),
    "os-start": ("SHUTOFF", "ACTIVE"),
    "resume": ("SUSPENDED", "ACTIVE"),
    "unpause": ("PAUSED", "ACTIVE"),
    "unshelve": ("SHELVED_OFFLOADED", "ACTIVE"),
    "confirmResize": ("VERIFY_RESIZE", "ACTIVE"),
}


def act(cloud: Cloud, body: Json, _query: Mapping[str, str], server_id: str) -> Answer:
    server = server_of(cloud, server_id)
    ((action, wanted),) = body.items()
    if action == "createImage":
        image_id = cloud.add_image(wanted["name"], status="active", **wanted["metadata"])
        return 202, None, {"Location": f"{cloud.url}/image/v2/images/{image_id}"}
    if action == "resize":
        server |= {"status": "RESIZE", "flavor": {"id": wanted["flavorRef"]}}
        return 202, None, {}
    needs, becomes = ACTIONS[action]
    if server["status"] != needs:
        raise Refused(409, IMMUTABLE.format(action, server["status"].lower()))
    server["status"] = becomes
    return 202, None, {}


def flavors(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    return listed("flavors", FLAVORS, cloud, query)


def flavor(_cloud: Cloud, _body: Json, _query: Mapping[str, str], flavor_id: str) -> Answer:
    return 200, {"flavor": next(found for found in FLAVORS if found["id"] == flavor_id)}, {}


def limits(cloud: Cloud, _body: Json, _query: Mapping[str, str]) -> Answer:
    used = {"maxTotalInstances": cloud.instances, "totalInstancesUsed": len(cloud.servers)}
    return 200, {"limits": {"absolute": used | {"maxTotalCores": -1, "totalCoresUsed": 4}}}, {}


def key_pair(_cloud: Cloud, _body: Json, _query: Mapping[str, str], name: str) -> Answer:
    if name != "known":
        raise Refused(404, f"Keypair {name} not found for user")
    return 200, {"keypair": {"name": name}}, {}


def list_groups(cloud: Cloud, _body: Json, _query: Mapping[str, str]) -> Answer:
    return 200, {"server_groups": list(cloud.groups.values())}, {}


def create_group(cloud: Cloud, body: Json, _query: Mapping[str, str]) -> Answer:
    group_id = str(uuid.uuid4())
    cloud.groups[group_id] = {**body["server_group"], "id": group_id, "members": []}
    return 200, {"server_group": cloud.groups[group_id]}, {}


def show_group(cloud: Cloud, _body: Json, _query: Mapping[str, str], group_id: str) -> Answer:
    return 200, {"server_group": cloud.groups[group_id]}, {}


def delete_group(cloud: Cloud, _body: Json, _query: Mapping[str, str], group_id: str) -> Answer:
    del cloud.groups[group_id]
    return 204, None, {}


def list_images(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    wanted = {key: value for key, value in query.items() if key not in ("marker", "limit")}
    found = [image for image in cloud.images.values() if all(image.get(key) == value for key, value in wanted.items())]
    return listed("images", found, cloud, query, next_key="next")


def image_of(cloud: Cloud, image_id: str) -> dict[str, Json]:
    if image_id not in cloud.images:
        raise Refused(404, f"No image found with ID {image_id}")
    return cloud.images[image_id]


def show_image(cloud: Cloud, _body: Json, _query: Mapping[str, str], image_id: str) -> Answer:
    return 200, image_of(cloud, image_id), {}


def delete_image(cloud: Cloud, _body: Json, _query: Mapping[str, str], image_id: str) -> Answer:
    image_of(cloud, image_id)
    del cloud.images[image_id]
    return 204, None, {}


def networks(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    return listed("networks", NETWORKS, cloud, query)


def network(_cloud: Cloud, _body: Json, _query: Mapping[str, str], network_id: str) -> Answer:
    found = [known for known in NETWORKS if known["id"] == network_id]
    if not found:
        raise Refused(404, f"Network {network_id} could not be found.")
    return 200, {"network": found[0]}, {}


def security_groups(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    return listed("security_groups", GROUPS, cloud, query)


def ports(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    found = [
        {"id": f"port-{server['id']}", "device_id": server["id"], "fixed_ips": [{"ip_address": server["_address"]}]}
        for server in cloud.servers.values()
        if server["id"] == query["device_id"] and server["addresses"]
    ]
    return 200, {"ports": found}, {}


def list_floating(cloud: Cloud, _body: Json, query: Mapping[str, str]) -> Answer:
    found = [entry for entry in cloud.floating.values() if entry["description"] == query["description"]]
    return listed("floatingips", found, cloud, query)


def create_floating(cloud: Cloud, body: Json, _query: Mapping[str, str]) -> Answer:
    if len(cloud.floating) >= cloud.free_addresses:
        raise Refused(409, f"No more IP addresses available on network {PUBLIC}.")
    wanted = body["floatingip"]
    made = {"id": str(uuid.uuid4()), "floating_ip_address": f"203.0.113.{cloud.number()}", **wanted}
    cloud.floating[made["id"]] = made
    return 201, {"floatingip": made}, {}


def update_floating(cloud: Cloud, body: Json, _query: Mapping[str, str], floating_id: str) -> Answer:
    cloud.floating[floating_id] |= body["floatingip"]
    return 200, {"floatingip": cloud.floating[floating_id]}, {}


def delete_floating(cloud: Cloud, _body: Json, _query: Mapping[str, str], floating_id: str) -> Answer:
    cloud.floating.pop(floating_id)
    return 204, None, {}


_COMPUTE, _IMAGE, _NETWORK = "/compute/v2.1", "/image/v2", "/network/v2.0"
ROUTES: tuple[Row, ...] = (
    ("POST /v3/auth/tokens", login),
    ("GET /v3/auth/tokens", show_token),
    (f"GET {_COMPUTE}/servers/detail", list_servers),
    (f"POST {_COMPUTE}/servers", create_server),
    (f"GET {_COMPUTE}/servers/([^/]+)", show_server),
    (f"DELETE {_COMPUTE}/servers/([^/]+)", delete_server),
    (f"POST {_COMPUTE}/servers/([^/]+)/metadata", metadata),
    (f"DELETE {_COMPUTE}/servers/([^/]+)/metadata/([^/]+)", drop_metadata),
    (f"POST {_COMPUTE}/servers/([^/]+)/action", act),
    (f"GET {_COMPUTE}/flavors/detail", flavors),
    (f"GET {_COMPUTE}/flavors/([^/]+)", flavor),
    (f"GET {_COMPUTE}/limits", limits),
    (f"GET {_COMPUTE}/os-keypairs/([^/]+)", key_pair),
    (f"GET {_COMPUTE}/os-server-groups", list_groups),
    (f"POST {_COMPUTE}/os-server-groups", create_group),
    (f"GET {_COMPUTE}/os-server-groups/([^/]+)", show_group),
    (f"DELETE {_COMPUTE}/os-server-groups/([^/]+)", delete_group),
    (f"GET {_IMAGE}/images", list_images),
    (f"GET {_IMAGE}/images/([^/]+)", show_image),
    (f"DELETE {_IMAGE}/images/([^/]+)", delete_image),
    (f"GET {_NETWORK}/networks", networks),
    (f"GET {_NETWORK}/networks/([^/]+)", network),
    (f"GET {_NETWORK}/security-groups", security_groups),
    (f"GET {_NETWORK}/ports", ports),
    (f"GET {_NETWORK}/floatingips", list_floating),
    (f"POST {_NETWORK}/floatingips", create_floating),
    (f"PUT {_NETWORK}/floatingips/([^/]+)", update_floating),
    (f"DELETE {_NETWORK}/floatingips/([^/]+)", delete_floating),
)


class Handler(BaseHTTPRequestHandler):
    """Finds the row of a call, and answers as the services do."""

    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def handle_one_call(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        call = f"{self.command} {url.path}"
        with self.cloud.lock:
            self.cloud.calls.append(call)
            fault = self._fault(call)
            if fault and not fault.after:
                self._refuse(Refused(fault.status, fault.text), fault.headers)
                return
            try:
                answer = self._answer(call, body, dict(parse_qsl(url.query)))
            except Refused as refused:
                self._refuse(refused, {})
                return
            if fault:
                self.close_connection = True  # done, but nobody hears of it
                return
        self._send(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = handle_one_call  # noqa: N815

    def _answer(self, call: str, body: Json, query: Mapping[str, str]) -> Answer:
        if call != "POST /v3/auth/tokens" and self.headers.get("X-Auth-Token") not in self.cloud.tokens:
            raise Refused(401, "The request you have made requires authentication.")
        query = {**query, "token": self.headers.get("X-Auth-Token", "")} if call.startswith("GET /v3") else query
        for pattern, answer in ROUTES:
            if match := re.fullmatch(pattern, call):
                return answer(self.cloud, body, query, *match.groups())
        raise Refused(404, f"no such page: {call}")

    def _fault(self, call: str) -> Fault | None:
        for fault in self.cloud.faults:
            if fault.times and re.search(fault.call, call):
                fault.times -= 1
                return fault
        return None

    def _refuse(self, refused: Refused, headers: Mapping[str, str]) -> None:
        body = {"someFault": {"code": refused.status, "message": refused.text}}
        self._send(refused.status, body, dict(headers))

    def _send(self, status: int, body: Json, headers: dict[str, str]) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Connection": "close", **headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[Cloud]:
    """Yield a pretended cloud that listens on a port of its own."""
    cloud = Cloud()
    handler = type("Bound", (Handler,), {"cloud": cloud})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        cloud.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield cloud
        finally:
            server.shutdown()
            thread.join()
