"""The clouds that this manager knows, by name: the section [iaas], which is ``default``, and registered ones."""

import threading
from collections.abc import Callable, Mapping

import msgspec

from conpaassql import iaas
from conpaassql.errors import ConfigError, Invalid, ProviderError
from conpaassql.iaas import Driver, DriverModule
from conpaassql.manager.provider import Defaults, Provider
from conpaassql.manager.store import Store
from conpaassql.model import Cluster
from conpaassql.model_cloud import DEFAULT_PROVIDER, ProviderRecord
from conpaassql.settings import ManagerSettings
from conpaassql.vault import Vault

Load = Callable[[str, Mapping[str, str], str], Driver]
_ARGUMENTS = {"USER": "username", "PASSWORD": "password", "URL": "url", "TENANT": "tenant"}  # by an option's end


class Secrets(msgspec.Struct, frozen=True):
    """What of a registration is kept sealed: the password, and options of which one may be secret."""

    password: str
    extra: dict[str, str]

    def __repr__(self) -> str:
        return "Secrets(...)"


class Providers:
    """The registry.  Drivers are built when they are first needed.

    ``owner`` is this manager's name, by which its VMs are known in every cloud.  ``fixed`` are
    options by key that hold wherever a registration says nothing else.
    """

    def __init__(
        self,
        default: Provider,
        store: Store,
        vault: Vault,
        owner: str,
        *,
        clock: Callable[[], float],
        fixed: Mapping[str, str] | None = None,
        load: Load = iaas.load,
    ) -> None:
        self._store = store
        self._vault = vault
        self._owner = owner
        self._clock = clock
        self._fixed = fixed or {}
        self._load = load
        self._lock = threading.Lock()
        self._built = {DEFAULT_PROVIDER: default}

    def get(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            UnknownProvider: there is none of the name.
            ProviderError: its driver cannot be built, or its password not be read.
        """
        if found := self._built.get(name):
            return found
        with self._lock:  # of two who build it one is used, and none that is unregistered meanwhile is kept
            if name not in self._built:
                self._built[name] = self._build(self._store.providers.get(name))
            return self._built[name]

    def of(self, cluster: Cluster) -> Provider:
        """Return the provider of a cluster's VMs; errors as ``get``."""
        return self.get(cluster.provider)

    def names(self) -> list[str]:
        """Return the names of all providers, ``default`` first."""
        return [DEFAULT_PROVIDER, *(record.name for record in self._store.providers.list())]

    def secrets(self, record: ProviderRecord) -> Secrets:
        """Return the password and the further options of a registered provider.

        Raises:
            ProviderError: they do not open with this manager's key.
        """
        try:
            return msgspec.json.decode(self._vault.open(record.sealed, _purpose(record.name)), type=Secrets)
        except (ConfigError, msgspec.DecodeError) as exc:
            says = exc.says if isinstance(exc, ConfigError) else "it is not what this version wrote."
            raise ProviderError(
                f"The login of provider {record.name} cannot be read: {says}", provider=record.name
            ) from exc

    def seal(self, name: str, found: Secrets) -> bytes:
        """Return what a record keeps of the secrets."""
        return self._vault.seal(msgspec.json.encode(found), _purpose(name))

    def try_out(self, record: ProviderRecord) -> None:
        """Build the driver of a record that is not written yet, so that a wrong option is told at once.

        Raises:
            Invalid: an option is wrong.
            ProviderError: there is no such type.
        """
        self._driver(record)

    def forget(self, name: str) -> None:
        """Let go of a provider that was unregistered or changed; whoever needs it builds it anew."""
        with self._lock:
            gone = self._built.pop(name, None)
        if gone:
            gone.close()

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            for provider in self._built.values():
                provider.close()

    def _build(self, record: ProviderRecord) -> Provider:
        try:
            driver = self._driver(record)
        except Invalid as exc:
            raise ProviderError(f"Provider {record.name} cannot be used: {exc.says}", provider=record.name) from exc
        defaults = Defaults(image=record.default_image, flavor=record.default_flavor)
        return Provider(driver, self._clock, record.name, defaults)

    def _driver(self, record: ProviderRecord) -> Driver:
        module = driver_module(record.type)
        chosen = driver_options(module, record, self.secrets(record))
        options = {**{key: value for key, value in self._fixed.items() if key in module.OPTIONS}, **chosen}
        try:
            return self._load(record.type, options, self._owner)
        except ConfigError as exc:
            raise ConfigError(_of_registration(exc), key=exc.details.get("key")) from exc


def default_provider(found: ManagerSettings, driver: Driver, clock: Callable[[], float]) -> Provider:
    """Return the section [iaas] as a provider; its default image and flavor are the template's, or the driver's own."""
    options = found.iaas.options
    known = driver_module(found.iaas.driver).OPTIONS
    image = found.template.image_id or _ending(options, known, "IMAGE_ID", "IMAGE")
    defaults = Defaults(image=image, flavor=_ending(options, known, "SIZE_ID", "FLAVOR_ID", "FLAVOR"))
    return Provider(driver, clock, DEFAULT_PROVIDER, defaults)


def _ending(options: Mapping[str, str], known: Mapping[str, str], *ends: str) -> str:
    return next((options[key] for key in known if options.get(key) and key.partition("_")[2] in ends), "")


def _of_registration(wrong: ConfigError) -> str:
    """Return what is wrong with an option, by the argument that it came from; drivers speak of [iaas]."""
    key = str(wrong.details.get("key", ""))
    argument = _ARGUMENTS.get(key.partition("_")[2], "extra")
    return wrong.says.replace(f"[iaas] {key}", f"{argument}: {key}")


def _purpose(name: str) -> str:
    return f"provider {name}"


def driver_module(type_: str) -> DriverModule:
    """Return the driver for a word of ``iaas.names()``.

    Raises:
        ProviderError: there is none.
    """
    for module in iaas.modules():
        if type_.upper() in module.NAMES:
            return module
    raise ProviderError(
        f"There is no provider type {type_[:64]!r}; use one of {', '.join(iaas.names())}.", provider_type=type_[:64]
    )


def driver_options(module: DriverModule, record: ProviderRecord, found: Secrets) -> dict[str, str]:
    """Return a driver's options as a registration says them.

    User, password, URL and tenant go to the options of the driver that end so; a driver without
    such an option needs none.  A key of ``extra`` is an option's whole name, or its end
    (``region`` for ``OPENSTACK_REGION``).

    Raises:
        Invalid: the driver has no such option, or it is given twice.
    """
    values = {"USER": record.username, "PASSWORD": found.password, "URL": record.url, "TENANT": record.tenant}
    chosen = {key: values[end] for key in module.OPTIONS if (end := key.partition("_")[2]) in values and values[end]}
    given: dict[str, str] = {}
    for key, value in found.extra.items():
        option = _option(module, key)
        if option in given:
            raise Invalid(f"The option {option} is given twice; give it once.", option=option)
        given[option] = value
    return {**chosen, **given}


def merged(module: DriverModule, present: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return ``extra`` with what is given in the place of what there was, whichever name of an option each has.

    An empty value removes the option.

    Raises:
        Invalid: the driver has no such option.
    """
    replaced = {_option(module, key) for key in given}
    kept = {key: value for key, value in present.items() if _option(module, key) not in replaced}
    return {**kept, **{key: value for key, value in given.items() if value}}


def _option(module: DriverModule, key: str) -> str:
    word = key.upper().replace("-", "_")
    for option in module.OPTIONS:
        if word in (option, option.partition("_")[2]):
            return option
    listed = ", ".join(module.OPTIONS) or "none"
    raise Invalid(f"The driver has no option {key[:64]!r}; it has {listed}.", option=key[:64])
