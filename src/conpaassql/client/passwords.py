"""Passwords that other users of this machine cannot see: from a file, a terminal or standard input."""

import getpass
import sys
from pathlib import Path

from conpaassql.errors import Invalid

MOST_BYTES = 4096  # the longest text that a manager takes


def read(word: str) -> str:
    """Return the password that a word of the command line stands for: ``-``, ``@FILE`` or itself.

    Raises:
        Invalid: there is none, or the file cannot be read.
    """
    if word == "-":
        return asked()
    if word.startswith("@"):
        return _filed(Path(word[1:]))
    if not word:
        raise Invalid("The password is empty; write -, and it is asked for.")
    print(
        "Warning: other users of this machine can see a password on a command line, and the shell keeps it; "
        "write - (asked for, or read from standard input) or @FILE instead.",
        file=sys.stderr,
    )
    return word


def asked() -> str:
    """Return the password that is typed at the terminal, or the first line of standard input.

    Raises:
        Invalid: there is none.
    """
    if sys.stdin is None:
        raise Invalid("Standard input is closed, and the password is to come from there.")
    try:
        secret = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    except EOFError as exc:
        raise Invalid("No password was typed.") from exc
    except UnicodeDecodeError as exc:
        raise Invalid("The password on standard input is no text in this terminal's encoding.") from exc
    if not secret:
        raise Invalid("The password on standard input is empty; write it there, followed by a line end.")
    return secret


def _filed(file: Path) -> str:
    try:
        with file.open("rb") as source:
            text = source.read(MOST_BYTES + 1).decode().removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text in UTF-8"
        raise Invalid(f"The password's file {file} cannot be read: {reason}.") from exc
    if not text or "\n" in text or len(text) > MOST_BYTES:
        raise Invalid(f"The file {file} has to hold a password on one line, and nothing else.")
    return text
