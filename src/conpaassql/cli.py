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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from conpaassql import VERSION, httpd, iaas, pki, render, settings, vault
from conpaassql.errors import ConfigError, Conflict, Error
from conpaassql.httpd import HttpServer, Tls
from conpaassql.manager import adopt
from conpaassql.manager.agents import Credentials, CurlAgents
from conpaassql.manager.context import Manager, order_numbers
from conpaassql.manager.looks import Looks
from conpaassql.manager.loop import Loop, OnStep
from conpaassql.manager.providers import Providers, default_provider
from conpaassql.manager.provision import OnChange, Provision
from conpaassql.manager.store import Store, open_store
from conpaassql.pki import Authority
from conpaassql.settings import ManagerSettings
from conpaassql.vault import Vault
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
        os.umask(0o077)
        if given.check:
            _driver(found)
            print("The configuration is right.")
            return 0
        set_up_logging(found.manager.logfile)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        run(found)
    except Error as exc:
        print(f"conpaassql-manager: {exc.says}", file=sys.stderr)
        return EX_CONFIG
    return 0


def run(found: ManagerSettings, on_step: OnStep | None = None, on_change: OnChange | None = None) -> None:
    """Serve until a signal.

    ``on_step`` sees every step of the loop, ``on_change`` every change that a job about machines
    makes (tests end the process there).

    Raises:
        Error: it cannot start: the configuration, a port, another manager on the same state.
    """
    with running(found, on_step, on_change) as service:
        log.info("the manager listens on %s", found.manager.public_url)
        service.server.run()


@dataclass(frozen=True, slots=True)
class Service:
    """A manager that is ready to serve."""

    manager: Manager
    server: HttpServer


@contextmanager
def running(
    found: ManagerSettings, on_step: OnStep | None = None, on_change: OnChange | None = None
) -> Iterator[Service]:
    """Build a manager and start its loop; everything is closed at the end."""
    os.umask(0o077)
    with ExitStack() as stack:
        with _blamed("state_dir", found.manager.state_dir):
            files = _open_state(found, stack)
        driver = _driver(found)
        bound = httpd.listen(found.manager.address, found.manager.port)
        stack.callback(bound.close)
        store = open_store(found.manager.state_dir / "store.sqlite")
        stack.callback(store.close)
        loop = Loop(on_step)
        provision = Provision(on_change)
        manager = Manager(
            settings=found,
            store=store,
            looks=Looks(),
            agents=CurlAgents(files.credentials),
            providers=_providers(found, driver, store, files.vault),
            provision=provision,
            vault=files.vault,
            authority=files.authority,
            join_key=files.join_key,
            numbers=order_numbers(store.start(datetime.now(UTC))),
            now=lambda: datetime.now(UTC),
            wake=loop.wake,
        )
        stack.callback(manager.providers.close)
        stack.callback(manager.agents.close)
        if found.manager.find_existing_agents:
            adopt.adopt(manager)
        guard = auth.Guard(hashlib.sha256(files.token.encode()).digest() if found.manager.auth == "token" else None)
        identity = Tls(certificate=files.credentials.certificate, key=files.credentials.key)
        tls = identity if found.manager.use_tls else None
        stack.enter_context(_announced(found))
        loop.start(manager)
        stack.callback(loop.stop)
        provision.start(manager)
        stack.callback(provision.stop)
        yield Service(manager, HttpServer(web.app(manager, guard), bound, tls))


@dataclass(frozen=True, slots=True, kw_only=True)
class _StateFiles:
    """What the state directory holds beside the store."""

    authority: Authority
    credentials: Credentials
    token: str = field(repr=False)
    join_key: bytes = field(repr=False)
    vault: Vault


def _open_state(found: ManagerSettings, stack: ExitStack) -> _StateFiles:
    """Lock the state directory and read its files, made where they are absent."""
    state = found.manager.state_dir
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    _lock(state, stack)
    authority = pki.open_authority(state, found.manager.name)
    addresses = tuple(dict.fromkeys((found.manager.address, found.manager.public_address, "localhost")))
    certificate, key = pki.open_identity(state, "manager", authority, addresses)
    pki.write_private(state / "url", f"{found.manager.public_url}\n".encode())
    return _StateFiles(
        authority=authority,
        credentials=Credentials(ca=state / "ca.pem", certificate=certificate, key=key),
        token=auth.open_token(state),
        join_key=_join_key(state),
        vault=vault.open_vault(state),
    )


def _driver(found: ManagerSettings) -> iaas.Driver:
    """Return the driver; before that, fill the VM template once, so that no node is asked for in vain.

    Raises:
        ConfigError: the template or an option of the driver is wrong.
    """
    template = found.template
    try:
        render.vm_template(template, {**template.values(), "NAME": f"{template.name}-1"})
    except ConfigError as exc:
        section, key = "onevm_agent_template", "FILENAME"
        raise ConfigError(f"[{section}] {key}: {exc.says}", section=section, key=key) from exc
    return iaas.load(found.iaas.driver, found.iaas.options, found.manager.name)


def _providers(found: ManagerSettings, driver: iaas.Driver, store: Store, keys: Vault) -> Providers:
    """Return the registry, with the section [iaas] as the provider ``default``."""
    return Providers(
        default_provider(found, driver, time.monotonic),
        store,
        keys,
        found.manager.name,
        clock=time.monotonic,
        fixed={"LOCAL_ROOT": found.iaas.options["LOCAL_ROOT"]},
    )


@contextmanager
def _blamed(key: str, path: Path) -> Iterator[None]:
    """Name the option of [manager] whose file or directory cannot be used."""
    try:
        yield
    except OSError as exc:
        says = f"[manager] {key} = {path}: {exc.filename or path}: {exc.strerror}; choose another, or mend that."
        raise ConfigError(says, section="manager", key=key) from exc


def set_up_logging(file: Path | None) -> None:
    """Log to a file that only its owner can read, or to standard error."""
    logging.Formatter.converter = time.gmtime
    handler: logging.Handler = logging.StreamHandler()
    if file:
        with _blamed("logfile", file):
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
    except BlockingIOError as exc:
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
    state = found.manager.state_dir.resolve()
    link: Path | None = None
    try:
        link = _link(f"{found.manager.address}_{found.manager.port}", state)
    except (OSError, RuntimeError) as exc:  # RuntimeError: this user has no home
        log.warning("clients have to be told where %s is: %s", state, exc)
    try:
        yield
    finally:
        with suppress(OSError):
            if link and link.is_symlink() and link.readlink() == state:
                link.unlink()


def _link(name: str, state: Path) -> Path:
    folder = Path.home() / ".conpaassql"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(state)
    return link


if __name__ == "__main__":
    sys.exit(manager_main())
