"""What a pretended cloud is told to do wrong: the options DUMMY_*, read once."""

import fnmatch
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from conpaassql.errors import ConfigError, IaasError

OPTIONS: Mapping[str, str] = {
    "DUMMY_STATE": "",
    "DUMMY_CALL_S": "0",
    "DUMMY_DELAY_S": "0",
    "DUMMY_DELETE_DELAY_S": "0",
    "DUMMY_SNAPSHOT_DELAY_S": "0",
    "DUMMY_FAIL": "",
    "DUMMY_FAIL_DELETE": "",
    "DUMMY_FAIL_SNAPSHOT": "",
    "DUMMY_LOSE_ANSWER": "",
    "DUMMY_LOSE_DELETE": "",
    "DUMMY_LOSE_SNAPSHOT": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that can fail, or work and report a failure: by a pattern of names or every n-th time.

    ``fail_key`` and ``lose_key`` are the options that ``fail`` and ``lose`` come from.
    """

    fail_key: str
    fail: str
    lose_key: str
    lose: str
    _calls: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def begin(self, name: str) -> int:
        """Return the number of this call.

        Raises:
            IaasError: it is to fail.
        """
        call = next(self._calls)
        if _matches(self.fail, name, call):
            raise IaasError(f"{name}: this fails because {self.fail_key} = {self.fail}.", lost=False)
        return call

    def end(self, name: str, call: int) -> None:
        """Let a call end that has done its work.

        Raises:
            IaasError: its answer is to be lost.
        """
        if _matches(self.lose, name, call):
            says = f"{name}: this answer is lost because {self.lose_key} = {self.lose}."
            raise IaasError(says, lost=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Everything that is told.  ``call_s`` is how long each call takes."""

    call_s: float
    delay_s: float
    delete_delay_s: float
    snapshot_delay_s: float
    create: Verb
    delete: Verb
    snapshot: Verb


def orders(options: Mapping[str, str]) -> Orders:
    """Return what complete options say.

    Raises:
        ConfigError: a number of seconds is none.
    """

    def verb(fail_key: str, lose_key: str) -> Verb:
        return Verb(fail_key=fail_key, fail=options[fail_key], lose_key=lose_key, lose=options[lose_key])

    return Orders(
        call_s=_seconds("DUMMY_CALL_S", options),
        delay_s=_seconds("DUMMY_DELAY_S", options),
        delete_delay_s=_seconds("DUMMY_DELETE_DELAY_S", options),
        snapshot_delay_s=_seconds("DUMMY_SNAPSHOT_DELAY_S", options),
        create=verb("DUMMY_FAIL", "DUMMY_LOSE_ANSWER"),
        delete=verb("DUMMY_FAIL_DELETE", "DUMMY_LOSE_DELETE"),
        snapshot=verb("DUMMY_FAIL_SNAPSHOT", "DUMMY_LOSE_SNAPSHOT"),
    )


def _seconds(key: str, options: Mapping[str, str]) -> float:
    try:
        seconds = float(options[key])
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ConfigError(f"[iaas] {key} = {options[key]}: use a number of seconds.", section="iaas", key=key)
    return seconds


def _matches(rule: str, name: str, call: int) -> bool:
    """Whether ``rule``, a pattern of names or a number n for every n-th call, is about this call."""
    if rule.isdigit():
        return int(rule) > 0 and call % int(rule) == 0
    return bool(rule) and fnmatch.fnmatchcase(name, rule)
