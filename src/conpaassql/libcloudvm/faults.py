"""Which error of ours a cloud's refusal is: pure tables of status, word and text.

Sources: Nova, Neutron and Glance API references, "Normal response codes" and faults as their
services send them; EC2 API reference, "Error codes".
"""

import re

from conpaassql.errors import IaasBusy, IaasDenied, IaasError, IaasFull, IaasMissing, IaasQuota, IaasRefused

_LONGEST = 300  # characters of a cloud's own text that are passed on

# The first pattern found in the text wins, whatever the status says.
_TEXTS: tuple[tuple[str, type[IaasError]], ...] = (
    (r"no valid host|not enough hosts|no more ip addresses|no more free|ipaddressgenerationfailure", IaasFull),
    (r"quota|limit exceeded|overlimit.*(instances|cores|ram)", IaasQuota),
)
_MISSING = re.compile(
    r"could not be found|can ?not find|not found|unable to find|invalid (key_name|imageref|flavorref)", re.I
)
_STATUSES: dict[int, type[IaasError]] = {
    401: IaasDenied,
    403: IaasDenied,
    404: IaasMissing,
    409: IaasBusy,
    413: IaasBusy,
    423: IaasBusy,
    429: IaasBusy,
    503: IaasError,
}

# The first pattern that is found in EC2's word wins.
_WORDS: tuple[tuple[str, type[IaasError]], ...] = (
    (r"^(RequestLimitExceeded|Throttling|RequestThrottled|EC2ThrottledException)", IaasBusy),
    (r"LimitExceeded|QuotaExceeded|^MaxConfigLimit", IaasQuota),
    (r"^(Server\.)?Insufficient|NoFreeAddresses|AddressesExhausted", IaasFull),
    (
        r"^Auth|^Unauthorized|^InvalidClientTokenId|^SignatureDoesNotMatch|^OptInRequired|^Blocked|^PendingVerification",
        IaasDenied,
    ),
    (r"^AccessDenied|^UnrecognizedClient|^RequestExpired|^OperationNotPermitted$", IaasDenied),
    (
        r"^Incorrect\w*State|^\w*InUse|\.InUse$|^DependencyViolation|^ConcurrentTagAccess|^IdempotentParameterMismatch",
        IaasBusy,
    ),
    (r"NotFound|Unknown$|^InvalidAMIID|^InvalidKeyPair|^InvalidGroup|^InvalidInstanceType|^InvalidZone", IaasMissing),
    (r"^Internal|^Unavailable|^ServiceUnavailable", IaasError),
)


def of_status(cloud: str, status: int, text: str) -> IaasError:
    """Return the error for a refusal by HTTP status and text."""
    kind = next((kind for pattern, kind in _TEXTS if re.search(pattern, text, re.I)), None)
    return (kind or _by_status(status, text))(_sentence(cloud, status, text), status=status)


def of_word(cloud: str, status: int, word: str, text: str) -> IaasError:
    """Return the error for a refusal by EC2's word for it; without one, by status and text."""
    if not word:
        return of_status(cloud, status, text)
    kind = next((kind for pattern, kind in _WORDS if re.search(pattern, word)), None)
    says = _sentence(cloud, status, f"{word}: {text}")
    return (kind or (IaasError if status >= 500 else IaasRefused))(says, status=status, word=word)


def scrubbed(text: str, *secrets: str) -> str:
    """Return a cloud's text without what it repeats of the request: values, user data, passwords."""
    text = re.sub(r"Value: .*", "Value: ...", text, flags=re.S)  # Nova's validation errors show what they refuse
    for secret in secrets:
        text = text.replace(secret, "...") if secret else text
    text = re.sub(r"[A-Za-z0-9+/=_-]{60,}", "...", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _by_status(status: int, text: str) -> type[IaasError]:
    if status == 400:
        return IaasMissing if _MISSING.search(text) else IaasRefused
    if kind := _STATUSES.get(status):
        return kind
    return IaasError if status >= 500 else IaasRefused


def _sentence(cloud: str, status: int, text: str) -> str:
    return f"{cloud} answered {status}: {text or 'nothing more'}"
