"""The page on provisioning: written here, and filled from the commands themselves."""

import inspect
from collections.abc import Iterator

import click

from conpaassql.client import command
from conpaassql.client.asking import PROGRAM

_SHARED = ("manager", "as_json", "help")  # told of once, for all commands
_INTRODUCTION = """\
# Providers, machines and snapshots

A *provider* is a cloud with a login to it, under a name of your choice; the provider `default` is the `[iaas]` section
of the manager's configuration, and always there. A *machine* is a single VM of a provider, beside the nodes of
clusters. A *snapshot* is an image of a machine, for further machines like it. The commands are those of MySQL Fabric's
WL#6432, with all their options, and they work on every provider; what a cloud lacks is refused by name.

From a checkout the program is `scripts/conpaassql`, from an installation `conpaassql`.

    conpaassql provider register one.example oneadmin - http://one.example:2633/RPC2 --provider_type=OPENNEBULA \\
        --default_image="Debian 12"                    # asks for the password
    conpaassql check provider one.example              # login, rights, image, network, ...: what to fix
    conpaassql provider update one.example --password -     # another password or token, also while it is in use
    conpaassql image list one.example
    conpaassql machine create one.example --flavor vcpus=2 --flavor ram=2048 --flavor disk=20 \\
        --private_network=office --number_machines=3 --userdata=setup.sh --meta owner=anna
    conpaassql machine list one.example
    conpaassql snapshot create one.example 9f3d9729-f220-11e3-adbb-b86b23dc9477
    conpaassql machine destroy one.example 9f3d9729-f220-11e3-adbb-b86b23dc9477
    conpaassql provider unregister one.example

## What all commands share

**Options** are written `--option=VALUE` or `--option VALUE`, with `-` or `_` in their names. Options of yes or no may
stand alone (`--force` is `--force=yes`). `--help` works everywhere. Behind `--` everything is an argument.

**The manager** is the one that `--manager` or `CONPAASSQL_URL` names, as `https://HOST:PORT` or `HOST:PORT`; else the
one that this user runs on this machine; else `http://127.0.0.1:50000/`. The token is looked for in `CONPAASSQL_TOKEN`,
in the file that `CONPAASSQL_TOKEN_FILE` names, in `~/.conpaassql/HOST_PORT/admin.token` and in
`/var/lib/conpaassql/admin.token`; the authority in `CONPAASSQL_CA` and in `ca.pem` of the same directories.

**Answers** are plain tables, one line for each thing, `-` where there is nothing; `-j` or `--json` prints the manager's
answer instead. Both options stand before or behind the command.

**Jobs.** What takes longer than an answer is a job of the manager. The command follows it, on a terminal with a bar and
what the job waits for below it; Ctrl-C ends the following, not the job, and says its number for `conpaassql job show`.
With `--synchronous=no` the command ends as soon as the job has begun. `--wait-spawning=no` makes the job itself
shorter: it ends when the cloud has taken the order, not when the machine runs.

**Files.** `--userdata` and `--files` name files of the machine on which the command runs; their text is sent, and the
manager reads no file of its own. Each holds at most 65,535 bytes of UTF-8.

**Passwords.** A password on a command line can be seen by other users of the machine. Write `-` and it is asked for (or
read from standard input), or `@FILE`. The manager keeps it encrypted, and no answer shows it.

| exit status | meaning |
|--:|---|
| 0 | done |
| 1 | the manager refused, the job failed, or a check found something wrong |
| 2 | wrong usage; nothing was sent |
| 3 | the manager cannot be reached |
| 4 | no login, or a wrong one |
| 130 | interrupted |

An error is one line on standard error, with the code of [errors.md](errors.md) in brackets.

## Commands

`conpaassql server` is another name of `conpaassql machine`.
"""


def reference() -> str:
    """Return the page, in Markdown."""
    return _INTRODUCTION + "".join(_sections(command.root, PROGRAM))


def _sections(group: click.Group, path: str) -> Iterator[str]:
    for name, found in sorted(group.commands.items()):
        if isinstance(found, click.Group):
            if found.name == name:  # else another name of it
                yield from _sections(found, f"{path} {name}")
        else:
            yield _section(found, f"{path} {name}")


def _section(found: click.Command, path: str) -> str:
    """Return what is to be said of one command: usage, text, options."""
    with click.Context(found, info_name=path) as context:
        usage = " ".join(found.collect_usage_pieces(context))
    rows = [_option(param) for param in found.params if isinstance(param, click.Option) and param.name not in _SHARED]
    table = "\n| option | meaning |\n|---|---|\n" + "".join(rows) if rows else ""
    return f"\n### {path}\n\n    {path} {usage}\n\n{_text(found)}\n{table}"


def _text(found: click.Command) -> str:
    """Return a command's help as Markdown: what click shall not wrap becomes a block."""
    paragraphs = inspect.cleandoc(found.help or "").split("\n\n")
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(text: str) -> str:
    if not text.startswith("\b\n"):
        return text
    first, *lines = text.removeprefix("\b\n").split("\n")
    return "\n".join([first, "", *(f"  {line}" for line in lines)])


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    metavar = " `{}`".format(option.metavar.replace("|", r"\|")) if option.metavar else ""
    default = f" Default: {option.default}." if option.show_default else ""
    return f"| {names}{metavar} | {option.help}{default} |\n"
