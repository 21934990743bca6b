"""Every error this project raises, and what each one means to the caller.

    Error                      500        a fault of ours
    +-- Invalid                400        the request is wrong; sending it again will not help
    |   +-- ConfigError        400        a configuration file is wrong; names file, section, key
    |   +-- TooLarge           413        the body is over the configured limit
    |   +-- UnsupportedType    415        the body is of a content type that is not understood
    |   +-- SqlError           400        the database server refused a statement of yours
    +-- Unauthorized           401        no login, or a wrong one
    +-- Forbidden              403        the login may not do this
    +-- NotFound               404        no such cluster, node, user, database or job
    |   +-- UnknownMethod      404        no such operation
    +-- Conflict               409        it exists, but its present state forbids this
    |   +-- Unsafe             409        would risk data: a person has to say ``force``
    |   +-- ProviderError      409        about a provider: exists, in use, of no known type
    |   |   +-- UnknownProvider 404
    |   +-- MachineError       409        about a machine or snapshot: could not be made, belongs to another provider
    |   |   +-- UnknownMachine 404
    |   +-- StaleTerm          409        an order of a manager that has been succeeded
    +-- Unsupported            501        this provider or server cannot do that
    +-- Unavailable            503 retry  something we depend on did not answer in time
        +-- IaasError          503        the cloud
        |   +-- IaasBusy       503 retry  a passing state, or a lock
        |   +-- IaasFull       503 retry  no address, host or space left
        |   +-- IaasRefused    503        for good: bad template, unsupported there
        |       +-- IaasDenied, IaasQuota, IaasMissing
        +-- AgentError         503        an agent
        +-- MysqlError         503        a database server

Facts travel in ``details``; ``says`` is a sentence for a person and ends with what to do.
Foreign exceptions stop at their adapter, which raises one of these ``from`` them.
"""

from collections.abc import Sequence
from typing import ClassVar

Detail = str | int | float | bool | None | Sequence[str | int]


class Error(Exception):
    """Root of the tree.  ``code`` is stable and documented; nobody matches on the text."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retry: ClassVar[bool] = False

    def __init__(self, says: str, **details: Detail) -> None:
        super().__init__(says)
        self.says = says
        self.details = details


class Invalid(Error):
    """The request is wrong; sending it again will not help."""

    code, status = "invalid", 400


class ConfigError(Invalid):
    """A configuration file is wrong; details name ``file``, ``section`` and ``key``."""

    code = "config"


class TooLarge(Invalid):
    """The body is over the configured limit."""

    code, status = "too-large", 413


class UnsupportedType(Invalid):
    """The body is of a content type that is not understood."""

    code, status = "unsupported-type", 415


class SqlError(Invalid):
    """The database server refused a statement of yours; ``details`` hold its ``errno`` and the ``line``."""

    code = "sql"


class Unauthorized(Error):
    """No login, or a wrong one."""

    code, status = "unauthorized", 401


class Forbidden(Error):
    """The login may not do this."""

    code, status = "forbidden", 403


class NotFound(Error):
    """No such cluster, node, user, database or job."""

    code, status = "not-found", 404


class UnknownMethod(NotFound):
    """No such operation."""

    code = "unknown-method"


class Conflict(Error):
    """The thing exists, but its present state forbids this."""

    code, status = "conflict", 409


class Unsafe(Conflict):
    """Doing it would risk data: a person has to say ``force``."""

    code = "unsafe"


class ProviderError(Conflict):
    """The provider exists already, is in use, or is of no known type."""

    code = "provider"


class UnknownProvider(ProviderError):
    """There is no such provider."""

    code, status = "unknown-provider", 404


class MachineError(Conflict):
    """The machine or snapshot could not be made or removed, or belongs to another provider."""

    code = "machine"


class UnknownMachine(MachineError):
    """There is no such machine."""

    code, status = "unknown-machine", 404


class StaleTerm(Conflict):
    """The order carries an older term than the one that this agent knows."""

    code = "stale-term"


class Unsupported(Error):
    """This provider or this database server cannot do that."""

    code, status = "unsupported", 501


class Unavailable(Error):
    """Something we depend on did not answer in time; a retry can help."""

    code, status, retry = "unavailable", 503, True


class IaasError(Unavailable):
    """The cloud refused or did not answer.

    ``details["lost"]`` says whether it may have done what it was asked for, where the driver can tell.
    """

    code = "iaas"


class IaasBusy(IaasError):
    """The cloud cannot do this to the VM or image at the moment; it is in a passing state, or locked."""

    code = "iaas-busy"


class IaasFull(IaasError):
    """The cloud has no address, host or space left for this at the moment."""

    code = "iaas-full"


class IaasRefused(IaasError):
    """The cloud refuses this for good; sending it again will not help."""

    code, retry = "iaas-refused", False


class IaasDenied(IaasRefused):
    """The cloud does not accept the credentials, or its user may not do this."""

    code = "iaas-denied"


class IaasQuota(IaasRefused):
    """A quota of the cloud's user or group is used up."""

    code = "iaas-quota"


class IaasMissing(IaasRefused):
    """The cloud has no such image, network, flavor or template, or hides it from this user."""

    code = "iaas-missing"


class AgentError(Unavailable):
    """An agent refused in a way it should not, or did not answer."""

    code = "agent"


class MysqlError(Unavailable):
    """The database server refused a statement or went away; ``details["errno"]`` is its number."""

    code = "mysql"


def tree() -> dict[str, type[Error]]:
    """Return every error type by its code (the table that faces and documents are built from)."""
    found: dict[str, type[Error]] = {}
    todo: list[type[Error]] = [Error]
    while todo:
        kind = todo.pop()
        found[kind.code] = kind
        todo.extend(kind.__subclasses__())
    return found


def from_wire(code: str, says: str, details: dict[str, Detail]) -> Error:
    """Rebuild the error that the other side raised; an unknown code becomes ``AgentError``."""
    return tree().get(code, AgentError)(says, **details)


_INTRODUCTION = """\
# Errors

This page is written from the tree of errors. Every face answers with the code, the HTTP status and a sentence that
says what to do. "Retry" means that the same request may succeed a moment later.

| code | HTTP status | retry | meaning |
|---|---|---|---|
"""


def reference() -> str:
    """Return the page on errors, in Markdown."""
    rows = (
        f"| `{code}` | {kind.status} | {'yes' if kind.retry else 'no'} | {_meaning(kind)} |\n"
        for code, kind in sorted(tree().items())
    )
    return _INTRODUCTION + "".join(rows)


def _meaning(kind: type[Error]) -> str:
    """Return the first sentence of a type's docstring, for people who do not read the source."""
    if kind is Error:
        return "A fault of ours; the manager's log tells more."
    return (kind.__doc__ or "").split("\n")[0].replace("``", "`")
