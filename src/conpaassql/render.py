"""Templates to text; the only user of Jinja2."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Protocol

import jinja2

from conpaassql.errors import ConfigError

_SEED = "NAME|CPU|MEM_SIZE|OS|IMAGE_ID|DISK|NETWORK_ID|CONTEXT|USERDATA"
_DOLLAR = re.compile(rf"\$(?:\{{({_SEED})\}}|({_SEED})\b)")


class VmTemplate(Protocol):
    """The part of the settings that VM templates are filled from; see ``settings.Template``."""

    @property
    def filename(self) -> Path | None:
        """The template; None is the one that comes along."""

    def values(self) -> Mapping[str, str]:
        """Return the values of the section by name, in capitals."""


def my_cnf(memory_mib: int, server_id: int, domain_id: int, options: Mapping[str, str]) -> str:
    """Return the option file of a server; ``options`` are trusted.

    ``@ROOT@`` and ``@ADDRESS@`` remain for the agent to fill in.

    Raises:
        ConfigError: the template is broken.
    """
    values = {"memory_mib": memory_mib, "server_id": server_id, "domain_id": domain_id, "options": options}
    return _rendered(_built_in("mysql/my.cnf"), values)


def vm_template(template: VmTemplate, values: Mapping[str, str]) -> str:
    """Return the VM template, filled with the section's values and ``values``, which win.

    A template may say ``{{ NAME }}`` or, as in 2012, ``$NAME`` or ``${NAME}``; every other ``$`` is
    the cloud's.  What is filled in is not looked at again, whatever it holds.

    Raises:
        ConfigError: the template cannot be read, is broken, or wants a value that nobody gave.
    """
    path = template.filename or _built_in("vm/agent.template")
    return _rendered(path, {**template.values(), **values}, dollars=True)


def manager_template(values: Mapping[str, str]) -> str:
    """Return the VM template of a manager; every value of it has to be given.

    Raises:
        ConfigError: one is missing.
    """
    return _rendered(_built_in("vm/manager.template"), values)


def _built_in(name: str) -> Path:
    return Path(str(files("conpaassql.templates") / name))


def _rendered(path: Path, values: Mapping[str, object], *, dollars: bool = False) -> str:
    text = _read(path)
    # One language after this, and so one pass: `$NAME` in a value that is filled in stays as it is.
    source = _DOLLAR.sub(lambda found: "{{ " + (found[1] or found[2]) + " }}", text) if dollars else text
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (source, name, None)),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  no HTML here
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.get_template(str(path)).render(values)
    except jinja2.TemplateSyntaxError as exc:
        raise _broken(path, exc.lineno, str(exc.message)) from exc
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as exc:
        raise _broken(path, _line(exc.__traceback__, str(path)), str(exc)) from exc


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{path}: the template cannot be read: {exc.strerror}.", file=str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: the template is not UTF-8; save it as UTF-8.", file=str(path)) from exc


def _line(traceback: TracebackType | None, file: str) -> int:
    """Return the line of ``file`` that the innermost frame of it stands at; 0: none does."""
    line = 0
    while traceback:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _broken(path: Path, line: int, says: str) -> ConfigError:
    return ConfigError(f"{path}: line {line}: {says}.", file=str(path), line=line)
