"""Options of the commands that have a form of their own: yes or no, ``key=value``, files."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from conpaassql.errors import Invalid

YES_NO = ("--skip-store", "--force", "--wait-spawning", "--synchronous")
MOST_BYTES = 1 << 20  # of a file that is sent; clouds take far less (Nova: 65,535 bytes of user data)
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def dashes(name: str) -> str:
    """Return the one spelling of an option's or command's name that is documented."""
    return name.replace("_", "-")


def spelled(arguments: Sequence[str]) -> list[str]:
    """Give options of yes or no that stand alone their value: ``--force`` is ``--force=true``.

    ``--force false`` is a value, too, but no other word is: ``--force PROVIDER`` leaves PROVIDER
    to be an argument.  (click would take it for the value.)  Behind ``--`` all are arguments.
    """
    found: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*found, word, *rest]
        if dashes(word) in YES_NO:
            word += f"={rest.pop(0)}" if rest and rest[0].lower() in _WORDS else "=true"
        found.append(word)
    return found


def yes_no(name: str, says: str, *, default: bool = False) -> Decorator:
    """Declare an option that may stand alone."""
    assert name in YES_NO  # spelled() has to know it
    shown = "yes" if default else "no"
    return click.option(name, type=_truth, metavar="[yes|no]", default=shown, show_default=True, help=says)


def _truth(word: str) -> bool:
    if word.lower() not in _WORDS:
        raise Invalid(f"{word[:64]!r} is neither yes nor no; an option of yes or no takes {', '.join(_WORDS)}.")
    return _WORDS[word.lower()]


def many(*names: str, says: str, metavar: str = "KEY=VALUE") -> Decorator:
    """Declare an option that may be repeated."""
    return click.option(*names, metavar=metavar, multiple=True, help=f"{says} May be repeated.")


def text(name: str, says: str, metavar: str = "NAME", default: str | None = "") -> Decorator:
    """Declare an option with a text; of one that is not given ``default`` is the value."""
    return click.option(name, metavar=metavar, default=default, help=says)


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    """Return the ``key=value`` words of an option by their keys.

    Raises:
        Invalid: a word is no such pair, or a key comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals or key.startswith("-"):
            raise Invalid(f"{option} {word[:64]!r} has to be KEY=VALUE.")
        if key in found:
            raise Invalid(f"{option} gives {key[:64]!r} twice; give it once.")
        found[key] = value
    return found


def content(option: str, file: str) -> str:
    """Return the text in a file of this machine; ``-`` is standard input.

    Raises:
        Invalid: it cannot be read, is no text in UTF-8, or is too long.
    """
    try:
        with click.open_file(file, "rb") as source:
            raw = source.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise Invalid(f"{option}: {file} is longer than {MOST_BYTES} bytes; no cloud takes that.")
        return bytes(raw).decode()
    except OSError as exc:
        raise Invalid(f"{option}: {file} cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise Invalid(f"{option}: {file} is no text in UTF-8; encode it (base64) for the journey.") from exc


def contents(option: str, words: Iterable[str]) -> dict[str, str]:
    """Return the texts of ``PATH=FILE`` words by the paths that they shall have in the VM.

    Raises:
        Invalid: a word is no such pair, or its file cannot be read.
    """
    return {path: content(option, file) for path, file in pairs(option, words).items()}
