"""The command line of an agent's client, for operators: ``run-agent-client.sh HOST PORT VERB [JSON]``."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import msgspec

from conpaassql import mtls, protocol
from conpaassql.client import ends, state
from conpaassql.client.ends import End
from conpaassql.errors import AgentError, Error, Invalid, Unauthorized
from conpaassql.mtls import Endpoint
from conpaassql.protocol import Shape, Verb

PROGRAM = "run-agent-client.sh"
OLD_VERBS: Mapping[str, str] = {  # of 2012
    "get_server_state": "facts",
    "get_all_users": "users",
    "start_server": "start",
    "stop_server": "stop",
    "restart_server": "restart",
}
ABOUT = f"""\
Usage: {PROGRAM} HOST PORT VERB [JSON]

Gives one order to one agent and prints its answer as JSON. This is for operators who look for a
fault: what the manager wishes, it will enforce again at its next look.

JSON is an object with the order's parameters, for example '{{"name": "shop"}}'; - reads it from
standard input, where other users cannot see it. "term" is the agent's own unless it is given.
dump writes to standard output, and load reads standard input.

The manager's certificate is looked for in CONPAASSQL_STATE (a manager's state directory), then in
~/.conpaassql/*/ and /var/lib/conpaassql/.

Exit status: 0 done; 1 the agent refused; 2 wrong usage; 3 the agent cannot be reached or is
somebody else; 4 no certificate of a manager was found.

Verbs:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    return ends.guarded(PROGRAM, lambda: run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> End:
    """Do what the command line says.

    Raises:
        Error: wrong words, no certificate, no agent.
    """
    if not arguments or {"--help", "-h"} & set(arguments):
        print(overview(), end="")
        return End.DONE if arguments else End.USAGE
    if not 3 <= len(arguments) <= 4 or not arguments[1].isdigit():
        raise Invalid(f"Usage: {PROGRAM} HOST PORT VERB [JSON]; --help lists all verbs.")
    verb = find(arguments[2])
    given = parse(arguments[3] if len(arguments) == 4 else "{}")
    endpoint, facts = _met(arguments[0], int(arguments[1]))
    try:
        return _perform(endpoint, verb, order(verb, given, facts.term))
    except (AgentError, Invalid):
        raise
    except Error as exc:
        ends.tell(PROGRAM, exc)
        return End.REFUSED


def overview() -> str:
    """Return the help: all verbs, by the table of the protocol."""
    old = {new: name for name, new in OLD_VERBS.items()}
    lines = []
    for verb in protocol.VERBS:
        names = [field.name for field in fields(verb.request)]
        also = f" (also {old[verb.name]})" if verb.name in old else ""
        lines.append(f"  {verb.name:<16} {verb.says}{also}" + (f" {{{', '.join(names)}}}" if names else ""))
    return ABOUT + "\n".join(lines) + "\n"


def find(name: str) -> Verb:
    """Return a verb by its name or its name of 2012.

    Raises:
        Invalid: there is none.
    """
    verb = protocol.BY_NAME.get(OLD_VERBS.get(name, name))
    if verb is None:
        raise Invalid(f"There is no verb {name!r}; --help lists all.")
    return verb


def parse(text: str) -> dict[str, Any]:
    """Return the parameters in a JSON object; "-" reads it from standard input.

    Raises:
        Invalid: it is none.
    """
    try:
        return msgspec.json.decode(sys.stdin.read() if text == "-" else text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Invalid(f"The parameters are no JSON object: {exc}.") from exc


def order(verb: Verb, given: Mapping[str, Any], term: int) -> object:
    """Return the request of a verb; ``term`` is taken where it needs one and none is given.

    Raises:
        Invalid: a parameter is missing, unknown or of the wrong kind.
    """
    known = {field.name: field for field in fields(verb.request)}
    if extra := sorted(set(given) - set(known)):
        raise Invalid(f"{verb.name} does not take {extra[0]}; it takes {', '.join(known) or 'nothing'}.")
    values = {**({"term": term} if "term" in known else {}), **given}
    missing = [n for n, f in known.items() if n not in values and f.default is MISSING and f.default_factory is MISSING]
    if "my_cnf" in missing:
        raise Invalid(
            f"{verb.name} needs my_cnf, the server's whole option file, which only the manager writes. Give it as "
            'JSON {"my_cnf": "..."}; or stop the server, and the manager starts it again with the right one.'
        )
    if missing:
        raise Invalid(f"{verb.name} needs {', '.join(missing)}; give them as JSON.")
    try:
        return msgspec.convert(values, verb.request)
    except msgspec.ValidationError as exc:
        raise Invalid(f"{verb.name}: {exc}.") from exc


def _met(host: str, port: int) -> tuple[Endpoint, protocol.AgentFacts]:
    """Return an agent that knows us, and what it says of itself; with several managers, each is tried."""
    wrong: AgentError | None = None
    for folder in _folders():
        certificate, key = folder / "manager.pem", folder / "manager.key"
        endpoint = Endpoint(host=host, port=port, ca=folder / "ca.pem", certificate=certificate, key=key)
        try:
            return endpoint, _call(endpoint, protocol.BY_NAME["facts"], protocol.Empty())
        except AgentError as exc:
            wrong = exc
    if wrong:
        raise wrong
    raise Unauthorized("No manager's certificate was found; name its state directory in CONPAASSQL_STATE.")


def _folders() -> Iterator[Path]:
    named = os.environ.get("CONPAASSQL_STATE")
    found = [Path(named)] if named else [*sorted(state.announced().glob("*")), state.SYSTEM]
    yield from (folder for folder in found if named or os.access(folder / "manager.key", os.R_OK))


def _perform(endpoint: Endpoint, verb: Verb, request: object) -> End:
    if verb.shape is Shape.DOWNLOAD:
        with mtls.download(endpoint, verb, request) as stream:
            for chunk in stream.chunks():
                sys.stdout.buffer.write(chunk)
        return End.DONE
    if verb.shape is Shape.UPLOAD:
        reply = mtls.upload(endpoint, verb, request, iter(lambda: sys.stdin.buffer.read(1 << 18), b""))
    else:
        reply = _call(endpoint, verb, request)
    ends.show(msgspec.to_builtins(reply))
    return End.DONE


def _call(endpoint: Endpoint, verb: Verb, request: object) -> Any:
    """Give an order: the body is the request, so that no password stands in an address."""
    return mtls.upload(endpoint, verb, protocol.Empty(), [msgspec.json.encode(request)])


if __name__ == "__main__":
    sys.exit(main())
