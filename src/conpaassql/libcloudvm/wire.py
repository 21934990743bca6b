"""OpenStack and EC2 through apache-libcloud: the only module that knows it.

libcloud brings what is the same for every call: logging in, tokens, the catalog of services,
signatures, connections.  Its verbs for machines are passed by, since they read a second time
after a creation (so that a VM can be made and the call still fail), list regions by a fixed
table, put user data into addresses, and drop fields that we need.

A libcloud connection serves one thread at a time.  So a few are kept and lent out.
"""

import io
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit
from xml.etree import ElementTree as ET

import requests
from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.openstack_identity import OpenStackAuthenticationCache
from libcloud.common.types import InvalidCredsError, LibcloudError
from libcloud.compute.drivers.ec2 import EC2NodeDriver, EC2Response
from libcloud.compute.drivers.openstack import OpenStack_1_1_Response, OpenStack_2_NodeDriver
from libcloud.http import LibcloudConnection
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from conpaassql.errors import ConfigError, IaasDenied, IaasError, IaasRefused
from conpaassql.libcloudvm import answers, faults
from conpaassql.libcloudvm.answers import Json, part
from conpaassql.libcloudvm.locks import Lent

_CONNECT_TIMEOUT_S = 5.0
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_ANY_REGION = "us-east-1"  # libcloud wants one of its table, before it is told the real one


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How a cloud is reached.  ``url`` is http or https; ``ca_file``, if any, stands for the system's authorities."""

    cloud: str  # its name in sentences
    url: str
    user: str
    password: str = field(repr=False)
    ca_file: str = ""
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a cloud answered: the body, parsed, and headers by small letters."""

    body: Json
    headers: Mapping[str, str]


class Nova:
    """OpenStack's services, with a project's login (Keystone v3).  Safe to call from several threads."""

    def __init__(self, reach: Reach, *, tenant: str, domain: str, tenant_domain_id: str, region: str) -> None:
        """Remember how to log in; nothing is called yet.  An empty ``region``: the only one.

        Raises:
            ConfigError: the address is wrong.
        """
        _checked(reach)
        self._reach = reach
        login = {
            "ex_force_auth_url": re.sub(r"/v3/?$", "", reach.url.rstrip("/")),  # libcloud adds it
            "ex_force_auth_version": "3.x_password",
            "ex_tenant_name": tenant,
            "ex_domain_name": domain,
            "ex_tenant_domain_id": tenant_domain_id,
            "ex_auth_cache": _Tokens(),
        }
        self._links = Lent(reach.cloud, reach.timeout_s, lambda: self._connect(login, region))

    def call(
        self,
        service: str,
        method: str,
        path: str,
        body: Json = None,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call ``compute``, ``image`` or ``network`` and return what it answered.

        Raises:
            IaasError: it did not answer, or refused; by kind.
        """
        with _translated(self._reach), self._links.lent() as link:
            given = {"params": dict(params or {}), "headers": dict(headers or {}), "data": body or ""}
            ask = partial(link[service].request, path, method=method, **given)
            try:
                found = ask()
            except _Refusal as refusal:
                if refusal.code != requests.codes.unauthorized:
                    raise
                found = ask()  # the token was taken back before its time; libcloud has forgotten it by now
            return Answer(body=found.object or {}, headers=dict(found.headers))

    def pages(
        self, service: str, path: str, key: str, params: Mapping[str, str | int] | None = None
    ) -> Iterator[Mapping[str, Json]]:
        """Yield the things under ``key`` of every page of a list.

        Raises:
            IaasError: as ``call``; also when the pages do not end.
        """
        asked: dict[str, str | int] = dict(params or {})
        markers: set[str] = set()
        while True:
            body = self.call(service, "GET", path, params=asked).body
            page = part(body, key)
            yield from page
            more = bool(body.get(f"{key}_links") or body.get("next"))
            if not more or not page:
                return
            asked["marker"] = str(page[-1]["id"])
            if asked["marker"] in markers:
                raise IaasError(f"{self._reach.cloud} answers the same page of {key} again and again.")
            markers.add(str(asked["marker"]))

    def _connect(self, login: Mapping[str, object], region: str) -> Mapping[str, Any]:
        reach = self._reach
        make: Any = OpenStack_2_NodeDriver  # libcloud has no types here
        driver = make(reach.user, reach.password, api_version="2.2", timeout=reach.timeout_s, **login)
        links = {
            "compute": driver.connection,
            "image": driver.image_connection,
            "network": driver.network_connection,
        }
        for link in links.values():
            link.responseCls = _NovaAnswer
            link.service_name = None  # whatever the cloud calls its services; their type is enough
            link.service_region = region or None
            _through(link, reach)
        return links


class Ec2:
    """EC2's query interface.  Safe to call from several threads."""

    def __init__(self, reach: Reach, *, region: str) -> None:
        """Remember how to sign; nothing is called yet.

        Raises:
            ConfigError: the address is wrong.
        """
        _checked(reach)
        self._reach = reach
        self._links = Lent(reach.cloud, reach.timeout_s, lambda: self._connect(region))

    def call(self, action: str, params: Mapping[str, str | int] | None = None) -> Mapping[str, Json]:
        """Call an action and return what it answered: sets as lists, the rest by name.

        The parameters travel in the body, not in the address, where servers write them down.

        Raises:
            IaasError: it did not answer, or refused; by kind.
        """
        with _translated(self._reach), self._links.lent() as link:
            data = urlencode({"Action": action, "Version": link.version, **(params or {})})
            headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
            path = urlsplit(self._reach.url).path or "/"
            root = link.request(path, data=data, headers=headers, method="POST").object
            found = answers.plain(root)
            # A page of somebody else's must never pass for an empty list.
            if not isinstance(found, dict) or not root.tag.endswith(f"{action}Response"):
                raise IaasError(f"{self._reach.cloud} did not answer {action}; is {self._reach.cloud}_URL right?")
            return found

    def pages(self, action: str, key: str, params: Mapping[str, str | int] | None = None) -> Iterator[Json]:
        """Yield the things under ``key`` of every page of a list.

        Raises:
            IaasError: as ``call``; also when the pages do not end.
        """
        asked = dict(params or {})
        seen: set[str] = set()
        while True:
            body = self.call(action, asked)
            yield from part(body, key) or []
            token = str(body.get("nextToken") or "")
            if not token:
                return
            if token in seen:
                raise IaasError(f"{self._reach.cloud} answers the same page of {key} again and again.")
            seen.add(token)
            asked["NextToken"] = token

    def _connect(self, region: str) -> Any:
        reach = self._reach
        url = urlsplit(reach.url)
        make: Any = EC2NodeDriver
        driver = make(
            reach.user,
            reach.password,
            secure=url.scheme == "https",
            host=url.hostname,
            port=url.port or (443 if url.scheme == "https" else 80),
            region=_ANY_REGION,
            signature_version="4",
            timeout=reach.timeout_s,
        )
        driver.region_name = region  # the signature names it
        link = driver.connection
        link.responseCls = _Ec2Answer
        _through(link, reach)
        return link


class _Refusal(BaseHTTPError):
    """A cloud's own no, its text already scrubbed; ``word`` is EC2's name for it."""

    def __init__(self, code: int, word: str, text: str) -> None:
        super().__init__(code, faults.scrubbed(text))  # type: ignore[no-untyped-call]
        self.word = word


class _NovaAnswer(OpenStack_1_1_Response):
    """Reads faults of every shape that the services have; libcloud trips over some."""

    def parse_error(self) -> str:
        try:
            body = self.parse_body()  # type: ignore[no-untyped-call]
        except LibcloudError:
            body = self.body
        raise _Refusal(int(self.status), "", answers.fault(body))


class _Ec2Answer(EC2Response):
    """Keeps EC2's word for an error apart from its text."""

    def parse_error(self) -> str:
        try:
            error = ET.fromstring(str(self.body)).find(".//{*}Error")  # noqa: S314
        except ET.ParseError:
            error = None
        if error is None:
            raise _Refusal(int(self.status), "", answers.fault(self.body))
        raise _Refusal(int(self.status), error.findtext("{*}Code", ""), error.findtext("{*}Message", ""))


class _Tokens(OpenStackAuthenticationCache):
    """Tokens that the links of one driver share, so that each need not log in."""

    def __init__(self) -> None:
        self._kept: dict[object, object] = {}

    def get(self, key: object) -> object:
        return self._kept.get(key)

    def put(self, key: object, context: object) -> None:
        self._kept[key] = context

    def clear(self, key: object) -> None:
        self._kept.pop(key, None)


class _Session(LibcloudConnection):
    """libcloud's transport with deadlines, a bound on answers, checked certificates; without proxies and redirects."""

    def __init__(self, host: str, port: int, secure: object = None, *, reach: Reach, **_others: object) -> None:
        super().__init__(host, port, secure=secure)  # type: ignore[no-untyped-call]
        self._reach = reach
        self.session: requests.Session
        self.session.trust_env = False  # no proxy, no netrc, no other authorities by environment

    def request(
        self,
        method: str,
        url: str,
        body: str | bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        raw: bool = False,
        stream: bool = False,
        hooks: object = None,
    ) -> None:
        timeout_s = self._reach.timeout_s
        self.response = self.session.request(
            method=method,
            url=urljoin(str(self.host), url),
            data=body,
            headers={key: str(value) for key, value in (headers or {}).items()},
            allow_redirects=False,  # the token is for this server
            stream=True,
            verify=self._reach.ca_file or True,
            timeout=(min(_CONNECT_TIMEOUT_S, timeout_s), timeout_s),
        )
        _read(self.response, timeout_s, self._reach.cloud)


def _read(response: requests.Response, timeout_s: float, cloud: str) -> None:
    """Read an answer whole, within a time, and leave it where requests will look for it."""
    body = io.BytesIO()
    late = threading.Event()
    watch = threading.Timer(timeout_s, _cut_off, (response.raw, late))
    with ExitStack() as closing:
        closing.callback(response.close)
        closing.callback(watch.cancel)
        watch.start()
        try:
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=True):
                body.write(chunk)
                if body.tell() > _MAX_ANSWER_BYTES:
                    raise IaasError(f"{cloud} answered more than {_MAX_ANSWER_BYTES} bytes.")
        except (HTTPError, OSError) as exc:
            kind = requests.ReadTimeout if late.is_set() or isinstance(exc, ReadTimeoutError) else None
            raise (kind or requests.ConnectionError)("the answer broke off") from exc
        watch.cancel()
        closing.pop_all()  # read to its end: the connection can be used again
    body.seek(0)
    response.raw = body
    response.encoding = "utf-8"  # guessing it from the bytes takes seconds for a long list


def _cut_off(raw: BaseHTTPResponse, late: threading.Event) -> None:
    """End an answer that trickles: each of its bytes comes in time, but the whole does not."""
    late.set()
    with suppress(OSError, ValueError, RuntimeError):  # it may have ended by itself in this moment
        raw.shutdown()


def _through(link: Any, reach: Reach) -> None:
    """Let a libcloud connection use our transport."""
    link.conn_class = partial(_Session, reach=reach)
    link.connect()


def _checked(reach: Reach) -> None:
    try:
        url = urlsplit(reach.url)
        wrong = url.scheme not in ("http", "https") or not url.hostname or bool(url.username) or ":" in url.hostname
        _ = url.port
    except ValueError:
        wrong = True
    if wrong:
        says = f"[iaas] {reach.cloud}_URL = {reach.url}: use http(s)://NAME[:PORT][/PATH], without user and password."
        raise ConfigError(says, section="iaas", key=f"{reach.cloud}_URL")
    if reach.ca_file and not Path(reach.ca_file).is_file():
        says = f"[iaas] {reach.cloud}_CA_FILE = {reach.ca_file}: there is no such file."
        raise ConfigError(says, section="iaas", key=f"{reach.cloud}_CA_FILE")


@contextmanager
def _translated(reach: Reach) -> Iterator[None]:
    """Let no exception of libcloud or requests out, and no secret with it."""
    cloud = reach.cloud
    try:
        yield
    except _Refusal as exc:
        raise faults.of_word(cloud, exc.code, exc.word, faults.scrubbed(exc.message, reach.password)) from exc
    except InvalidCredsError as exc:
        says = f"{cloud} does not accept the login; check {cloud}_USER and {cloud}_PASSWORD, tenant and domain."
        raise IaasDenied(says) from exc
    except BaseHTTPError as exc:
        says = faults.scrubbed(str(exc.message), reach.password)
        raise faults.of_status(cloud, int(exc.code), says) from None  # Keystone may quote the login
    except requests.exceptions.SSLError as exc:
        says = f"{cloud}'s certificate is not one that this machine trusts; name its authority in {cloud}_CA_FILE."
        raise IaasError(says, url=reach.url) from exc
    except requests.exceptions.Timeout as exc:
        raise IaasError(f"{cloud} did not answer within {reach.timeout_s:g} s.", url=reach.url) from exc
    except OSError as exc:  # requests' own errors are of this kind, too
        raise IaasError(f"{cloud} at {reach.url} cannot be reached: {type(exc).__name__}.", url=reach.url) from exc
    except (LibcloudError, ValueError, KeyError, TypeError, AttributeError) as exc:
        # libcloud trips over answers that it does not expect, and its own sentences may quote them.
        raise _not_understood(cloud, exc) from None


def _not_understood(cloud: str, exc: Exception) -> IaasError:
    if "endpoint" in str(exc).lower():
        says = f"{cloud}'s catalog has not one address for the service; name the region in {cloud}_REGION."
        return IaasRefused(says)
    return IaasError(f"{cloud} answered something that is not understood ({type(exc).__name__}).")
