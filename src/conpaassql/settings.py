"""INI files to frozen settings, by the table in ``options``."""

import configparser
import difflib
import ipaddress
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from conpaassql import options
from conpaassql.errors import ConfigError
from conpaassql.model import Flavor
from conpaassql.options import Kind, Option

sample = options.sample
reference = options.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Iaas:
    """``driver`` in capitals; ``options`` are the other keys of the section, in capitals, as given."""

    driver: str
    options: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """The section ``[manager]``; ``logfile`` None is standard error, ``max_dump_mib`` 0 no limit."""

    name: str
    address: str
    port: int
    state_dir: Path
    auth: str
    tls: str
    public_address: str
    find_existing_agents: bool
    logfile: Path | None
    install_agents: bool
    packages_dir: Path
    report_ready: str
    poll_agents_timer: float
    add_nodes_deadline_s: float
    remove_nodes_deadline_s: float
    switchover_deadline_s: float
    max_body_mib: int
    max_dump_mib: int
    max_nodes_per_call: int

    @property
    def package_dir(self) -> Path:
        """Where the wheel for new VMs is made; not ``packages_dir``, which is the administrator's."""
        return self.state_dir / "install"

    @property
    def use_tls(self) -> bool:
        """Whether the manager speaks HTTPS."""
        return self.tls == "on" or (self.tls == "auto" and not is_loopback(self.address))

    @property
    def public_url(self) -> str:
        """Where agents find the manager."""
        host = f"[{self.public_address}]" if ":" in self.public_address else self.public_address
        return f"{'https' if self.use_tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The section ``[onevm_agent_template]``; ``filename`` None is the built-in template."""

    filename: Path | None
    name: str
    cpu: float
    mem_size: int
    disk: str
    disk_size: int
    data_disk_size: int
    different_hosts: bool
    os: str
    image_id: str
    network_id: str
    context: str
    userdata: str = field(repr=False)

    @property
    def flavor(self) -> Flavor:
        """The size of the VMs."""
        return Flavor(cpu=self.cpu, memory_mib=self.mem_size, disk_mib=self.disk_size)

    def values(self) -> Mapping[str, str]:
        """Return what a VM template may be filled with, by option name in capitals."""
        return {name.upper(): str(getattr(self, name)) for name in self.__dataclass_fields__ if name != "filename"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerSettings:
    """Everything that the manager's file says."""

    iaas: Iaas
    manager: Manager
    template: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """What the agent's file says in ``[agent]``; ``notes`` are sentences for the log.

    ``superuser`` is the administrator of the server.  ``disk_mib`` and ``memory_mib`` 0: not known.
    """

    node: int
    cluster: str
    root: Path
    address: str
    port: int
    template: Path
    manager_url: str
    join_token_file: Path | None
    ca_file: Path | None
    onegate_url: str
    onegate_token_file: Path | None
    vm_id: str
    disk_mib: int
    memory_mib: int
    superuser: str = "root"
    notes: tuple[str, ...] = ()


def load_manager(path: Path | None, overrides: Mapping[str, str] | None = None) -> ManagerSettings:
    """Return the manager's settings from its file; without one every option has its default.

    ``overrides`` are values of ``[manager]`` that were given on the command line.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong.
    """
    text = _read(path) if path else ""
    return parse_manager(text, str(path or "<command line>"), overrides or {})


def load_agent(path: Path) -> AgentSettings:
    """Return the agent's settings from its file.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong.
    """
    return parse_agent(_read(path), str(path))


def parse_manager(
    text: str, file: str = "<text>", overrides: Mapping[str, str] = MappingProxyType({})
) -> ManagerSettings:
    """As ``load_manager``, for text; ``file`` is named in errors.  Empty text gives the defaults."""
    given = _given(text, options.MANAGER, file)
    if overrides:
        given.setdefault("manager", {}).update(overrides)
    values = _values(given, options.MANAGER, file)
    manager = _manager(values["manager"], file)
    driver = str(values["iaas"]["driver"]).upper()
    chosen = {key.upper(): value for key, value in given.get("iaas", {}).items() if key != "driver"}
    chosen["LOCAL_ROOT"] = chosen.get("LOCAL_ROOT") or str(manager.state_dir / "local")
    template = Template(**values["onevm_agent_template"])
    _check_name(template.name, _option(options.MANAGER, "onevm_agent_template", "NAME"), file)
    return ManagerSettings(
        iaas=Iaas(driver=driver, options=chosen), manager=manager, template=_completed(template, chosen)
    )


def parse_agent(text: str, file: str = "<text>") -> AgentSettings:
    """As ``load_agent``, for text; ``file`` is named in errors."""
    given = _given(text, options.AGENT, file)
    values = _values(given, options.AGENT, file)
    chosen = values["agent"]
    chosen["template"] = chosen["template"] or chosen["root"].parent / "template"
    superuser = values["MySQL_root_connection"]["username"]
    return AgentSettings(**chosen, superuser=superuser, notes=tuple(_unused(given, file)))


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach ``address``; a name other than ``localhost`` counts as reachable."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _manager(values: dict[str, Any], file: str) -> Manager:
    values["state_dir"] = values["state_dir"] or _state_dir()
    values["packages_dir"] = values["packages_dir"] or values["state_dir"] / "packages"
    values["public_address"] = values["public_address"] or values["address"]
    manager = Manager(**values)
    if manager.auth == "none" and not is_loopback(manager.address):
        option = _option(options.MANAGER, "manager", "auth")
        _wrong(file, option, f"none is refused on {manager.address}; use token, or listen on 127.0.0.1")
    if manager.tls == "off" and not is_loopback(manager.address):
        option = _option(options.MANAGER, "manager", "tls")
        _wrong(file, option, f"off is refused on {manager.address}, as tokens would travel open; use auto")
    _check_name(manager.name, _option(options.MANAGER, "manager", "name"), file)
    return manager


def _check_name(name: str, option: Option, file: str) -> None:
    """Refuse what cannot be a part of a VM's name and of a directory's in every cloud."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", name):
        says = f"{name!r} cannot name VMs; use at most 41 letters, digits, points, dashes and low lines"
        _wrong(file, option, f"{says}, a letter or digit first")


def _state_dir() -> Path:
    # A service of the machine keeps its state in /var/lib; see the Filesystem Hierarchy Standard and XDG.
    return Path("/var/lib/conpaassql") if os.geteuid() == 0 else Path("~/.local/state/conpaassql").expanduser()


def _completed(template: Template, iaas: Mapping[str, str]) -> Template:
    """Let ``[iaas]`` name image and network where the template section does not."""
    return replace(
        template,
        image_id=template.image_id or iaas.get("OPENNEBULA_IMAGE_ID", ""),
        network_id=template.network_id or iaas.get("OPENNEBULA_NETWORK_ID", ""),
    )


def _unused(given: Mapping[str, Mapping[str, str]], file: str) -> Iterator[str]:
    """Yield a note for each option of 2012 that has a value and no effect."""
    for section in ("MySQL_root_connection", "MySQL_configuration"):
        for key, value in given.get(section, {}).items():
            if value and key != "username":
                yield f"{file}: [{section}] {key} is not used: the agent runs a server of its own."


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}.", file=str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not UTF-8 at byte {exc.start}; save it as UTF-8.", file=str(path)) from exc


def _given(text: str, table: Sequence[Option], file: str) -> dict[str, dict[str, str]]:
    """Return section -> key (small letters) -> value as given; every name is checked against the table."""
    parser = configparser.ConfigParser(interpolation=None, default_section="\0", empty_lines_in_values=False)
    try:
        parser.read_string(_joined(text, table), file)
    except configparser.Error as exc:
        raise ConfigError(f"{file}: {_says(exc)}", file=file) from exc
    sections = sorted({option.section for option in table})
    for section in parser.sections():
        if section not in sections:
            hint = _nearest(section, sections)
            raise ConfigError(f"{file}: [{section}]: there is no such section; {hint}.", file=file, section=section)
        for key in parser[section]:
            _check_key(file, section, key, table)
    return {name: {key: _clean(name, key, text, table) for key, text in parser[name].items()} for name in parser}


def _says(exc: configparser.Error) -> str:
    """Tell what is wrong with the file's form, without quoting a line, which may hold a secret."""
    match exc:
        case configparser.DuplicateOptionError():
            return f"line {exc.lineno}: [{exc.section}] {exc.option} stands here a second time; keep one."
        case configparser.DuplicateSectionError():
            return f"line {exc.lineno}: [{exc.section}] stands here a second time; join the two."
        case configparser.MissingSectionHeaderError():
            return f"line {exc.lineno}: stands before the first section; begin with a line such as [manager]."
        case configparser.ParsingError():
            return f"line {exc.errors[0][0]}: is neither a comment, a [section] nor a `key = value`."
        case _:
            return "is not an INI file."


def _joined(text: str, table: Sequence[Option]) -> str:
    """Join lines that end in a backslash with the next one; the number of lines stays the same.

    Lines lose their indent, so that an indented option is not taken for more of the one before.
    A secret may end in a backslash, and so may a comment.
    """
    secrets = {option.key.lower() for option in table if option.secret}
    done: list[str] = []
    waiting = 0
    for raw in text.split("\n"):
        line = raw.strip()
        if waiting:
            done[-1] = done[-1][:-1] + line
        else:
            done.append(line)
        key = re.split("[=:]", done[-1], maxsplit=1)[0].strip().lower()
        if line.endswith("\\") and not done[-1].startswith(("#", ";")) and key not in secrets:
            waiting += 1
        else:
            done += [""] * waiting
            waiting = 0
    return "\n".join(done)


def _check_key(file: str, section: str, key: str, table: Sequence[Option]) -> None:
    known = [option.key for option in table if option.section == section]
    if key in (name.lower() for name in known):
        return
    # A driver that somebody installed has options of its own, which begin with its name and which it checks itself.
    ours = {name.lower().split("_")[0] for name in known}
    if section == "iaas" and "_" in key and key.split("_")[0] not in ours:
        return
    hint = _nearest(key, known)
    raise ConfigError(
        f"{file}: [{section}] {key}: there is no such option; {hint}.", file=file, section=section, key=key
    )


def _nearest(word: str, words: Sequence[str]) -> str:
    by_small = {known.lower(): known for known in words}
    close = difflib.get_close_matches(word.lower(), by_small, n=1)
    return f"perhaps {by_small[close[0]]} is meant" if close else f"use one of {', '.join(words)}"


def _clean(section: str, key: str, text: str, table: Sequence[Option]) -> str:
    """Strip a comment behind a value; a secret is the whole line."""
    secret = any(option.secret for option in table if (option.section, option.key.lower()) == (section, key))
    return text if secret else re.sub(r"(^|\s)#.*", "", text, flags=re.DOTALL).strip()


def _values(given: Mapping[str, Mapping[str, str]], table: Sequence[Option], file: str) -> dict[str, dict[str, Any]]:
    """Return section -> key (small letters) -> typed value, defaults filled in."""
    values: dict[str, dict[str, Any]] = {option.section: {} for option in table}
    for option in table:
        key = option.key.lower()
        text = given.get(option.section, {}).get(key, "") or option.default
        if text is None:
            _wrong(file, option, f"is missing; {option.says[0].lower()}{option.says[1:]} For example: {option.example}")
        values[option.section][key] = _typed(text, option, file)
    return values


def _typed(text: str, option: Option, file: str) -> str | int | float | bool | Path | None:
    match option.kind:
        case Kind.TEXT:
            return text
        case Kind.PATH:
            return _path(text, option, file) if text else None
        case Kind.FLAG:
            flag = configparser.ConfigParser.BOOLEAN_STATES.get(text.lower())
            return flag if flag is not None else _wrong(file, option, f"{text!r} is neither true nor false")
        case Kind.CHOICE:
            small = text.lower()
            return small if small in option.choices else _wrong(file, option, _nearest(text, option.choices))
    return _number(text, option, file)


def _path(text: str, option: Option, file: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        _wrong(file, option, f"there is no user {text.split('/')[0][1:]!r} on this machine")


def _number(text: str, option: Option, file: str) -> int | float:
    try:
        number = int(text) if option.kind is Kind.INTEGER else float(text)
    except ValueError:
        _wrong(file, option, f"{text!r} is not {'a whole' if option.kind is Kind.INTEGER else 'a'} number")
    maximum = math.inf if option.maximum is None else option.maximum
    if not option.minimum <= number <= maximum or math.isinf(number):
        upper = "" if option.maximum is None else f" and at most {option.maximum:g}"
        _wrong(file, option, f"{text} is out of range; use at least {option.minimum:g}{upper}")
    return number


def _option(table: Sequence[Option], section: str, key: str) -> Option:
    return next(option for option in table if (option.section, option.key) == (section, key))


def _wrong(file: str, option: Option, says: str) -> NoReturn:
    raise ConfigError(
        f"{file}: [{option.section}] {option.key}: {says.rstrip('.')}.",
        file=file,
        section=option.section,
        key=option.key,
    )
