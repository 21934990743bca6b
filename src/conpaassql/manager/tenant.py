"""The tenant's own business: users, databases, dumps, logs.

These go straight to the primary's agent, with a deadline, because their answer is the server's
answer and streams cannot be wishes (decision 0003).  The last look decides beforehand whether
there is anybody to ask, so that a dead agent costs nothing.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from conpaassql import protocol
from conpaassql.errors import Conflict, Unavailable
from conpaassql.manager import queries
from conpaassql.manager.context import Manager

AT_ONCE = 16
STREAMS_AT_ONCE = 8
_places = threading.BoundedSemaphore(AT_ONCE)
# Their own: a stream takes as long as its caller likes, and must not keep others from short calls.
_streams = threading.BoundedSemaphore(STREAMS_AT_ONCE)


def configure_user(
    manager: Manager,
    *,
    cluster: str,
    node: int | str | None,
    username: str,
    password: str,
    host: str,
    databases: tuple[str, ...],
) -> dict[str, Any]:
    """Create a user, or change its password and rights, on the primary and so on every node."""
    term, address = _primary(manager, cluster, node)
    order = protocol.PutUser(term=term, username=username, password=password, host=host, databases=databases)
    _call(manager, address, "put_user", order)
    manager.event(cluster, "put-user", f"User {username!r} was set.", actor="admin")
    return {"result": "OK"}


def delete_user(manager: Manager, *, cluster: str, node: int | str | None, username: str) -> dict[str, Any]:
    """Remove a user."""
    term, address = _primary(manager, cluster, node)
    _call(manager, address, "drop_user", protocol.DropUser(term=term, username=username))
    manager.event(cluster, "drop-user", f"User {username!r} was removed.", actor="admin")
    return {"result": "OK"}


def set_password(manager: Manager, *, cluster: str, username: str, password: str) -> dict[str, Any]:
    """Change the password of an existing user."""
    term, address = _primary(manager, cluster, None)
    order = protocol.SetPassword(term=term, username=username, password=password)
    _call(manager, address, "set_password", order)
    manager.event(cluster, "set-password", f"The password of user {username!r} was changed.", actor="admin")
    return {}


def get_users(manager: Manager, *, cluster: str) -> dict[str, Any]:
    """Return the tenant's users."""
    _, address = _primary(manager, cluster, None)
    found = _call(manager, address, "users", protocol.Empty())
    return {
        "users": [
            {
                "username": user.username,
                "location": user.host,
                "databases": list(user.databases),
                "all_databases": not user.databases,
            }
            for user in found.users
        ]
    }


def create_database(manager: Manager, *, cluster: str, name: str) -> dict[str, Any]:
    """Create a database; the tenant's users get their rights on it."""
    term, address = _primary(manager, cluster, None)
    _call(manager, address, "create_database", protocol.Database(term=term, name=name))
    manager.event(cluster, "create-database", f"Database {name!r} was created.", actor="admin")
    return {"result": "OK"}


def delete_database(manager: Manager, *, cluster: str, name: str) -> dict[str, Any]:
    """Remove a database and all that is in it."""
    term, address = _primary(manager, cluster, None)
    _call(manager, address, "drop_database", protocol.Database(term=term, name=name))
    manager.event(cluster, "drop-database", f"Database {name!r} was removed.", actor="admin")
    return {"result": "OK"}


def list_databases(manager: Manager, *, cluster: str) -> dict[str, Any]:
    """Return the tenant's databases."""
    _, address = _primary(manager, cluster, None)
    return {"databases": list(_call(manager, address, "databases", protocol.Empty()).databases)}


def set_server_configuration(manager: Manager, *, cluster: str, options: dict[str, str]) -> dict[str, Any]:
    """Change dynamic server options on every node that answers, until its server is started again."""
    facts = manager.looks.get(queries.record(manager, cluster).cluster.id)
    hosts = [s.address for s in facts.nodes if s.server and s.address] if facts else []
    if facts is None or not hosts:
        raise Conflict(f"No server of cluster {cluster} runs; start it first.", cluster=cluster)
    order = protocol.SetOptions(term=facts.cluster.term, options=options)
    for host in hosts:
        _call(manager, host, "set_options", order)
    manager.event(cluster, "set-options", f"Options were changed: {', '.join(sorted(options))}.", actor="admin")
    return {"result": "OK"}


def node_log(manager: Manager, *, cluster: str, node: int, lines: int) -> dict[str, Any]:
    """Return the end of a node's logs."""
    address = _address(manager, cluster, node)
    return {"log": _call(manager, address, "log", protocol.Lines(lines=lines)).text}


def dump(manager: Manager, *, cluster: str, databases: tuple[str, ...]) -> Iterator[bytes]:
    """Yield a consistent SQL dump, taken on the primary."""
    _, address = _primary(manager, cluster, None)
    with _place(_streams, STREAMS_AT_ONCE):
        yield from manager.agents.download(address, "dump", protocol.Dump(databases=databases))


def load(manager: Manager, *, cluster: str, node: int | str | None, chunks: Iterable[bytes]) -> dict[str, Any]:
    """Run a dump on the primary as it comes."""
    term, address = _primary(manager, cluster, node)
    with _place(_streams, STREAMS_AT_ONCE):
        manager.agents.upload(address, "load", protocol.Order(term=term), chunks)
    manager.event(cluster, "load", "A dump was loaded.", actor="admin")
    return {"result": "OK"}


def _primary(manager: Manager, cluster: str, node: int | str | None) -> tuple[int, str]:
    """Return term and address of the primary; ``node`` (an id or "all") is only checked, as all nodes are one."""
    snapshot = queries.record(manager, cluster)
    if isinstance(node, int):
        queries.find(snapshot, node)
    facts = manager.looks.get(snapshot.cluster.id)
    primary = facts.primary if facts else None
    if facts is None or primary is None or not primary.open or primary.address is None:
        state = queries.cluster_state(snapshot, facts)
        raise Conflict(
            f"Service not running: cluster {cluster} is {state} and has no primary that takes writes; try again later.",
            state=state,
        )
    return snapshot.cluster.term, primary.address


def _address(manager: Manager, cluster: str, node: int) -> str:
    snapshot = queries.record(manager, cluster)
    queries.find(snapshot, node)
    facts = manager.looks.get(snapshot.cluster.id)
    sight = facts.by_id.get(node) if facts else None
    if sight is None or sight.agent is None or sight.address is None:
        raise Unavailable(f"The agent of node {node} does not answer; get_node_info tells where it stands.", node=node)
    return sight.address


def _call(manager: Manager, address: str, verb: str, request: object) -> Any:
    with _place(_places, AT_ONCE):
        return manager.agents.call(address, verb, request)


@contextmanager
def _place(places: threading.BoundedSemaphore, count: int) -> Iterator[None]:
    """Keep slow agents and slow callers from taking every thread."""
    if not places.acquire(timeout=5):
        raise Unavailable(f"{count} such calls to agents are under way already; try again in a moment.")
    try:
        yield
    finally:
        places.release()
