"""Composition root of the manager: the only place that builds its objects and wires them."""

import argparse
import fcntl
import hashlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conpaassql import VERSION, httpd, iaas, pki, settings
from conpaassql.errors import Conflict, Error
from conpaassql.httpd import HttpServer, Tls
from conpaassql.manager import adopt
from conpaassql.manager.agents import Credentials, CurlAgents
from conpaassql.manager.context import Manager, order_numbers
from conpaassql.manager.looks import Looks
from conpaassql.manager.loop import Loop, OnStep
from conpaassql.manager.provider import Provider
from conpaassql.manager.store import open_store
from conpaassql.settings import ManagerSettings
from conpaassql.web import app as web
from conpaassql.web import auth

EX_CONFIG = 78  # sysexits.h: starting again will not help
SWITCH_INTERVAL_S = 0.0005  # a look over a thousand nodes computes for tens of milliseconds; answers must not wait
log = logging.getLogger("conpaassql.manager")


def manager_main(arguments: list[str] | None = None) -> int:
    """Run the manager until SIGTERM or SIGINT; return an exit status."""
    parser = argparse.ArgumentParser(prog="conpaassql-manager", description="The manager of conpaassql.")
    parser.add_argument("-c", "--config", type=Path, help="INI file; without it every option has its default")
    parser.add_argument("-b", "--address", help="listen here instead of [manager] address")
    parser.add_argument("-p", "--port", help="listen here instead of [manager] port")
    parser.add_argument("--check", action="store_true", help="read the configuration, say what is wrong, and end")
    parser.add_argument("--version", action="version", version=f"conpaassql {VERSION}")
    given = parser.parse_args(arguments)
    overrides = {"address": given.address, "port": given.port}
    try:
        found = settings.load_manager(given.config, {key: value for key, value in overrides.items() if value})
        if given.check:
            print("The configuration is right.")
            return 0
        set_up_logging(found.manager.logfile)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        run(found)
    except Error as exc:
        print(f"conpaassql-manager: {exc.says}", file=sys.stderr)
        return EX_CONFIG
    return 0


def run(found: ManagerSettings, on_step: OnStep | None = None) -> None:
    """Serve until a signal.  ``on_step`` sees every step of the loop (tests end the process there).

    Raises:
        Error: it cannot start: the configuration, a port, another manager on the same state.
    """
    with running(found, on_step) as service:
        log.info("the manager listens on %s", found.manager.public_url)
        service.server.run()


@dataclass(frozen=True, slots=True)
class Service:
    """A manager that is ready to serve."""

    manager: Manager
    server: HttpServer


@contextmanager
def running(found: ManagerSettings, on_step: OnStep | None = None) -> Iterator[Service]:
    """Build a manager and start its loop; everything is closed at the end."""
    os.umask(0o077)
    state = found.manager.state_dir
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        _lock(state, stack)
        bound = httpd.listen(found.manager.address, found.manager.port)
        stack.callback(bound.close)
        authority = pki.open_authority(state, found.manager.name)
        addresses = tuple(dict.fromkeys((found.manager.address, found.manager.public_address)))
        certificate, key = pki.open_identity(state, "manager", authority, addresses)
        token = auth.open_token(state)
        credentials = Credentials(ca=state / "ca.pem", certificate=certificate, key=key)
        loop = Loop(on_step)
        store = open_store(state / "store.sqlite")
        stack.callback(store.close)
        manager = Manager(
            settings=found,
            store=store,
            looks=Looks(),
            agents=CurlAgents(credentials),
            provider=Provider(iaas.load(found.iaas.driver, found.iaas.options, found.manager.name), time.monotonic),
            authority=authority,
            join_key=_join_key(state),
            numbers=order_numbers(store.start(datetime.now(UTC))),
            now=lambda: datetime.now(UTC),
            wake=loop.wake,
        )
        stack.callback(manager.agents.close)
        if found.manager.find_existing_agents:
            adopt.adopt(manager)
        guard = auth.Guard(hashlib.sha256(token.encode()).digest() if found.manager.auth == "token" else None)
        tls = Tls(certificate=certificate, key=key) if found.manager.use_tls else None
        stack.enter_context(_announced(found))
        loop.start(manager)
        stack.callback(loop.stop)
        yield Service(manager, HttpServer(web.app(manager, guard), bound, tls))


def set_up_logging(file: Path | None) -> None:
    """Log to a file that only its owner can read, or to standard error."""
    logging.Formatter.converter = time.gmtime
    handler: logging.Handler = logging.StreamHandler()
    if file:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        handler = logging.StreamHandler(os.fdopen(descriptor, "a", encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO,
        handlers=[handler],
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        force=True,
    )


def _lock(state: Path, stack: ExitStack) -> None:
    """Hold the state directory against a second manager."""
    file = stack.enter_context((state / "lock").open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise Conflict(f"Another manager runs on {state}; stop it, or configure another state_dir.") from exc


def _join_key(state: Path) -> bytes:
    file = state / "join.key"
    if not file.exists():
        pki.write_private(file, secrets.token_bytes(32))
    return file.read_bytes()


@contextmanager
def _announced(found: ManagerSettings) -> Iterator[None]:
    """Tell this user's clients where the token and the authority of this manager lie.

    A link to the state directory, so that no secret is stored twice.
    """
    folder = Path.home() / ".conpaassql"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = folder / f"{found.manager.address}_{found.manager.port}"
    link.unlink(missing_ok=True)
    link.symlink_to(found.manager.state_dir.resolve())
    try:
        yield
    finally:
        if link.is_symlink() and link.readlink() == found.manager.state_dir.resolve():
            link.unlink()


if __name__ == "__main__":
    sys.exit(manager_main())
