"""What administrators ask about providers: register, change, forget, list, check, and look at what a cloud offers."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from conpaassql.errors import Invalid, ProviderError, UnknownProvider, Unsupported
from conpaassql.iaas import Catalog, Checks
from conpaassql.manager import choice, vms
from conpaassql.manager.context import Manager
from conpaassql.manager.providers import Secrets, driver_module, merged
from conpaassql.model_cloud import DEFAULT_PROVIDER, ProviderRecord

SECRET_WORDS = ("password", "secret", "token", "key", "credential")
HIDDEN = "***"
MOST_FINDINGS = 200
WITH_LOGIN = re.compile(r"([\w+.-]+://)?[^/?#]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What ``provider_register`` takes; see the catalog.  It is done at once, ``synchronous`` or not."""

    provider_id: str
    username: str
    password: str = field(repr=False)
    url: str
    tenant: str
    provider_type: str
    default_image: str
    default_flavor: str
    extra: dict[str, str] = field(repr=False)
    synchronous: bool


def register(manager: Manager, asked: Registration) -> dict[str, Any]:
    """Record a provider, when its driver takes the options; the cloud itself is not asked (``check_provider`` does).

    Raises:
        ProviderError: the name is taken, or there is no such type.
        Invalid: an option is wrong.
    """
    name = asked.provider_id
    if name == DEFAULT_PROVIDER:
        raise ProviderError("The provider default is the section [iaas] of the configuration; choose another name.")
    _check(asked.url, asked.default_flavor)
    record = ProviderRecord(
        name=name,
        type=asked.provider_type.upper(),
        username=asked.username,
        url=asked.url,
        tenant=asked.tenant,
        default_image=asked.default_image,
        default_flavor=asked.default_flavor,
        sealed=manager.providers.seal(name, Secrets(password=asked.password, extra=asked.extra)),
        created_at=manager.now(),
    )
    manager.providers.try_out(record)
    with manager.store.transaction():
        manager.store.providers.add(record)
        manager.provider_event(name, "provider-register", f"Provider {name} was registered.")
    return {"provider": _shown(manager, record)}


def _check(url: str, default_flavor: str) -> None:
    choice.default_filters(default_flavor)
    if WITH_LOGIN.match(url):  # it is kept as it is, and shown
        raise Invalid("The url holds a login; give it as username and password, which are kept encrypted.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What ``provider_update`` takes; None: it stays as it is.  It is done at once, ``synchronous`` or not."""

    provider_id: str
    username: str | None
    password: str | None = field(repr=False)
    url: str | None
    tenant: str | None
    default_image: str | None
    default_flavor: str | None
    extra: dict[str, str] = field(repr=False)
    synchronous: bool

    @property
    def plain(self) -> dict[str, Any]:
        """What is given of the fields that are kept as they are."""
        names = ("username", "url", "tenant", "default_image", "default_flavor")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def given(self) -> list[str]:
        """The names of what is to change."""
        return [*self.plain, *(["password"] if self.password is not None else []), *(["extra"] if self.extra else [])]


def update(manager: Manager, asked: Update) -> dict[str, Any]:
    """Change a provider, when its driver takes the options; the next call to the cloud uses them.

    Raises:
        UnknownProvider: there is none of the name.
        ProviderError: it is the section [iaas], somebody else changed it at the same time, or its login cannot be read.
        Invalid: nothing is given, or an option is wrong.
    """
    name = asked.provider_id
    if name == DEFAULT_PROVIDER:
        raise ProviderError(
            "The provider default is the section [iaas] of the configuration; change it in the INI file and "
            "restart the manager."
        )
    if not asked.given:
        raise Invalid("Nothing is given that is to change; give at least one of password, username, url, ...")
    before = manager.store.providers.get(name)
    after = _changed(manager, before, asked)
    manager.providers.try_out(after)
    with manager.store.transaction():
        if manager.store.providers.get(name) != before:
            raise ProviderError(f"Provider {name} was changed at the same time; look at it, and try again.")
        manager.store.providers.change(name, **asked.plain, sealed=after.sealed)
        manager.provider_event(name, "provider-update", f"Of provider {name} was changed: {', '.join(asked.given)}.")
    manager.providers.forget(name)
    return {"provider": _shown(manager, after)}


def _changed(manager: Manager, before: ProviderRecord, asked: Update) -> ProviderRecord:
    after = replace(before, **asked.plain)
    _check(after.url, after.default_flavor)
    found = manager.providers.secrets(before)
    password = found.password if asked.password is None else asked.password
    extra = merged(driver_module(before.type), found.extra, asked.extra)
    return replace(after, sealed=manager.providers.seal(before.name, Secrets(password=password, extra=extra)))


def unregister(manager: Manager, *, provider_id: str, synchronous: bool) -> dict[str, Any]:
    """Forget a provider, at once, ``synchronous`` or not.

    Raises:
        UnknownProvider: there is none of the name.
        ProviderError: a machine, a cluster or a running job uses it, or it is the section [iaas].
    """
    if provider_id == DEFAULT_PROVIDER:
        raise ProviderError("The provider default is the section [iaas] of the configuration; it is always there.")
    with manager.store.transaction():
        manager.store.providers.get(provider_id)
        if users := _users(manager, provider_id):
            raise ProviderError(
                f"Provider {provider_id} is in use by {', '.join(users)}; destroy or delete them first.",
                provider=provider_id,
            )
        manager.store.providers.remove(provider_id)
        manager.provider_event(provider_id, "provider-unregister", f"Provider {provider_id} was unregistered.")
    manager.providers.forget(provider_id)
    return {"result": "OK"}


def _users(manager: Manager, provider: str) -> list[str]:
    machines = len(manager.store.machines.list(provider))
    jobs = [f"job {job.id}" for job in manager.store.machine_jobs.list(provider, running=True)]
    clusters = [f"cluster {found.name}" for found in manager.store.clusters.list() if found.provider == provider]
    return [*([f"{machines} machines"] if machines else []), *clusters, *jobs]


def providers(manager: Manager, *, provider_id: str | None) -> dict[str, Any]:
    """Return all providers or one, without their passwords.

    Raises:
        UnknownProvider: there is none of the name.
    """
    shown = [_default(manager), *(_shown(manager, record) for record in manager.store.providers.list())]
    found = [one for one in shown if provider_id in (None, one["provider_id"])]
    if not found:
        raise UnknownProvider(f"There is no provider {provider_id}; provider_list shows those that are.")
    return {"providers": found}


def _shown(manager: Manager, record: ProviderRecord) -> dict[str, Any]:
    try:
        extra: Mapping[str, str] = manager.providers.secrets(record).extra
        problem = ""
    except ProviderError as exc:
        extra, problem = {}, exc.says
    return {
        "provider_id": record.name,
        "provider_type": record.type,
        "username": record.username,
        "url": record.url,
        "tenant": record.tenant,
        "default_image": record.default_image,
        "default_flavor": record.default_flavor,
        "extra": _without_secrets(extra),
        "says": problem,
    }


def _default(manager: Manager) -> dict[str, Any]:
    """The section [iaas], as far as it is about the driver in use, in the words of a registration."""
    section = manager.settings.iaas
    given = {key: section.options[key] for key in driver_module(section.driver).OPTIONS if key in section.options}
    ends = {key.partition("_")[2]: value for key, value in given.items()}
    defaults = manager.providers.get(DEFAULT_PROVIDER).defaults
    general = ("USER", "PASSWORD", "URL", "TENANT")
    return {
        "provider_id": DEFAULT_PROVIDER,
        "provider_type": section.driver,
        "username": ends.get("USER", ""),
        "url": ends.get("URL", ""),
        "tenant": ends.get("TENANT", ""),
        "default_image": defaults.image,
        "default_flavor": defaults.flavor,
        "extra": _without_secrets({k: v for k, v in given.items() if v and k.partition("_")[2] not in general}),
        "says": "",
    }


def _without_secrets(extra: Mapping[str, str]) -> dict[str, str]:
    return {key: HIDDEN if any(word in key.lower() for word in SECRET_WORDS) else value for key, value in extra.items()}


def check(manager: Manager, *, provider_id: str) -> dict[str, Any]:
    """Return what a provider's driver finds right and wrong, with cures; nothing is changed.

    Raises:
        UnknownProvider, ProviderError: it is not known, or cannot be built.
        Unsupported: the driver has no check.
    """
    provider = manager.providers.get(provider_id)
    with provider.use() as driver:
        if not isinstance(driver, Checks):
            raise Unsupported(f"The driver of provider {provider_id} has no check.", provider=provider_id)
        name = manager.settings.template.name
        tried = driver.check(vms.of_node(manager, provider, f"{name}-check", "check"))
        found = [asdict(finding) for finding, _ in zip(tried, range(MOST_FINDINGS), strict=False)]
    return {"provider_id": provider_id, "ok": all(finding["ok"] for finding in found), "findings": found}


def images(manager: Manager, *, provider_id: str) -> dict[str, Any]:
    """Return a cloud's images; sizes are GiB and MiB, 0: the cloud does not say."""
    with _catalog(manager, provider_id) as catalog:
        found = catalog.images()
    return {
        "images": [
            {"id": one.id, "name": one.name, "mindisk": one.min_disk_gib, "minram": one.min_ram_mib} for one in found
        ]
    }


def flavors(manager: Manager, *, provider_id: str) -> dict[str, Any]:
    """Return a cloud's named flavors; none where sizes are chosen freely."""
    with _catalog(manager, provider_id) as catalog:
        found = catalog.flavors()
    return {
        "flavors": [
            {
                "id": one.id,
                "name": one.name,
                "vcpus": one.vcpus,
                "ram": one.ram_mib,
                "disk": one.disk_gib,
                "swap": one.swap_mib,
            }
            for one in found
        ]
    }


def networks(manager: Manager, *, provider_id: str) -> dict[str, Any]:
    """Return a cloud's networks; ``free`` null: nobody knows."""
    with _catalog(manager, provider_id) as catalog:
        found = catalog.networks()
    return {"networks": [{"id": one.id, "name": one.name, "free": one.free} for one in found]}


@contextmanager
def _catalog(manager: Manager, provider_id: str) -> Iterator[Catalog]:
    """Lend a provider's catalog.

    Raises:
        UnknownProvider, ProviderError, IaasBusy: as ``Providers.get`` and ``Provider.use``.
        Unsupported: the driver has none.
    """
    provider = manager.providers.get(provider_id)
    with provider.use() as driver:
        if not isinstance(driver, Catalog):
            raise Unsupported(f"The driver of provider {provider_id} has no catalog.", provider=provider_id)
        yield driver
