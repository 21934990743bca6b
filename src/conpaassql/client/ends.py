"""How a client ends: exit statuses, results on standard output, errors on standard error."""

import json
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from conpaassql.errors import Error, Invalid, Unauthorized, Unavailable


class End(IntEnum):
    """Exit statuses; they are documented and stay."""

    DONE = 0
    REFUSED = 1  # the other side said no, or the job failed
    USAGE = 2
    UNREACHABLE = 3
    NO_LOGIN = 4
    INTERRUPTED = 130  # as shells say of SIGINT


def guarded(program: str, body: Callable[[], End]) -> int:
    """Run ``body``, tell its error as one sentence, and return the exit status."""
    try:
        end = body()
        sys.stdout.flush()
    except Error as exc:
        tell(program, exc)
        return of(exc)
    except KeyboardInterrupt:
        return End.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return End.REFUSED
    return end


def of(error: Error) -> End:
    """Return the exit status of an error that was raised on this side."""
    if isinstance(error, Unauthorized):
        return End.NO_LOGIN
    if isinstance(error, Invalid):
        return End.USAGE
    return End.UNREACHABLE if isinstance(error, Unavailable) else End.REFUSED


def tell(program: str, error: Error) -> None:
    """Say what went wrong, with the code that scripts may rely on."""
    print(f"{program}: {error.says} [{error.code}]", file=sys.stderr)


def show(result: Any) -> None:
    """Print a result as JSON: laid out for people on a terminal, else on one line."""
    print(json.dumps(result, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))
