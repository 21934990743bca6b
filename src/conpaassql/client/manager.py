"""The command line of a manager's client: ``run-manager-client.sh HOST PORT VERB [ARG...]``."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from conpaassql import catalog
from conpaassql.catalog import Effect
from conpaassql.client import ends, found, jobs, passwords, words
from conpaassql.client.ends import End
from conpaassql.client.wire import Answer, Server, saved
from conpaassql.client.words import Request
from conpaassql.errors import Invalid

PROGRAM = "run-manager-client.sh"
ABOUT = f"""\
Usage: {PROGRAM} HOST PORT VERB [ARG...] [name=value...] [--wait]

Asks a conpaassql manager for something and prints the result as JSON.

  --wait   follow the job that the call begins to its end (a bar on a terminal), and print how it ended
  --help   show this

Every parameter can be given by name (cluster=shop force=true), the usual ones by their place.
A word in brackets can be left out. The words of 2012 work too: `add_node agent`, `add_nodes 3`,
`remove_nodes id 7`, `remove_nodes count 2`, `configure_user all USER PASSWORD`.
Other users of this machine can see passwords on a command line: write - instead of a password,
and it is read from the terminal or from standard input. FILE - is standard input or output.

The token and the authority are looked for by themselves: CONPAASSQL_TOKEN, CONPAASSQL_TOKEN_FILE,
CONPAASSQL_CA; then ~/.conpaassql/HOST_PORT/ and /var/lib/conpaassql/. The address is
CONPAASSQL_URL; else http:// or https:// as the manager's own file "url" in these directories says;
else http://HOST:PORT/ on a loopback address and https://HOST:PORT/ elsewhere.

Exit status: 0 done; 1 the manager refused, or the job failed; 2 wrong usage; 3 the manager cannot
be reached; 4 no login, or a wrong one.

Verbs:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    return ends.guarded(PROGRAM, lambda: run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> End:
    """Do what the command line says.

    Raises:
        Error: wrong words, no login, no manager.
    """
    options = [word for word in arguments if word in ("--help", "-h", "--wait")]
    rest = [word for word in arguments if word not in options]
    if not rest or options.count("--wait") < len(options):
        print(overview(), end="")
        return End.DONE if options else End.USAGE
    if len(rest) < 3 or not rest[1].isdigit() or not 0 < int(rest[1]) < 65536:
        raise Invalid(f"Usage: {PROGRAM} HOST PORT VERB [ARG...]; --help lists all verbs.")
    request = words.read(rest[2], rest[3:])
    with Server(found.reached(rest[0], int(rest[1]))) as server:
        return _finish(server, _perform(server, request), request=request, wait="--wait" in options)


def overview() -> str:
    """Return the help: all verbs, by the catalog."""
    lines = []
    for row in catalog.ROWS:
        also = f" (also {', '.join(row.spellings)})" if row.spellings else ""
        lines += [f"  {words.usage(row).removeprefix('Usage: ')}", f"      {row.says}{also}"]
    return ABOUT + "\n".join(lines) + "\n"


def _perform(server: Server, request: Request) -> Answer:
    method, values = request.row.name, _with_secret(request)
    if request.row.effect is Effect.UPLOAD:
        with _source(request.file) as source:
            return server.upload(method, values, request.row.files[0], source)
    if request.row.effect is Effect.DOWNLOAD:
        return server.download(method, values, lambda: _target(request.file))
    return server.call(method, values)


def _source(file: str) -> AbstractContextManager[BinaryIO]:
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as exc:
        raise Invalid(f"{file} cannot be read: {exc.strerror or exc}.") from exc


def _target(file: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if file == "-" else saved(Path(file))


def _with_secret(request: Request) -> dict[str, Any]:
    """Return the values, with a password that is to be asked for."""
    if not request.asks_secret:
        return dict(request.values)
    return {**request.values, words.SECRET: passwords.asked()}


def _finish(server: Server, answer: Answer, *, request: Request, wait: bool) -> End:
    if answer.error:
        ends.tell(PROGRAM, answer.error)
        return End.REFUSED
    if not wait or answer.job is None:
        if request.row.effect is not Effect.DOWNLOAD:
            ends.show(answer.result)
        return End.DONE
    job = jobs.follow(server, answer.job)
    ends.show({"job": job})
    if job["state"] == "done":
        return End.DONE
    print(f"{PROGRAM}: The job failed: {job['says']} [{job['code']}]", file=sys.stderr)
    return End.REFUSED


if __name__ == "__main__":
    sys.exit(main())
