"""The command line of operators: ``conpaassql GROUP COMMAND ...``."""

import sys
from collections.abc import Sequence

import click

from conpaassql import VERSION
from conpaassql.client import command_job, command_machine, command_provider, ends, options
from conpaassql.client.asking import PROGRAM
from conpaassql.client.ends import End
from conpaassql.errors import Invalid

ABOUT = """\
Asks a conpaassql manager for clouds, machines and snapshots.

Options are written --option=VALUE or --option VALUE, with "-" or "_" in their names; those of
yes or no may stand alone, such as --force.

The manager is the one that --manager or CONPAASSQL_URL names; else the one that runs on this
machine for this user; else http://127.0.0.1:50000/. Its token and authority are looked for in
CONPAASSQL_TOKEN, CONPAASSQL_TOKEN_FILE and CONPAASSQL_CA; then in ~/.conpaassql/HOST_PORT/ and
/var/lib/conpaassql/.

Ctrl-C while a job is waited for ends the waiting, not the job.

\b
Exit status:
  0    done
  1    the manager refused, the job failed, or a check found something wrong
  2    wrong usage
  3    the manager cannot be reached
  4    no login, or a wrong one
  130  interrupted
"""
SETTINGS = {"token_normalize_func": options.dashes, "help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(help=ABOUT, context_settings=SETTINGS)
@click.version_option(VERSION, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.option("--manager", metavar="URL", default="", help="The manager: https://HOST:PORT or HOST:PORT.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print answers as JSON, not as tables.")
def root(manager: str, as_json: bool) -> None:
    """See ``ABOUT``. The options are read by the commands."""


for group in (
    command_provider.provider,
    command_machine.machine,
    command_machine.snapshot,
    command_provider.check,
    command_provider.image,
    command_provider.flavor,
    command_provider.network,
    command_job.job,
):
    root.add_command(group)
root.add_command(command_machine.machine, "server")  # its name in later releases of Fabric


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    return ends.guarded(PROGRAM, lambda: run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> End:
    """Do what the command line says.

    click's own way of ending (``standalone_mode``) is not used: it has other exit statuses.

    Raises:
        Error: wrong words, no login, no manager.
    """
    try:
        with root.make_context(PROGRAM, options.spelled(arguments)) as context:
            return End(root.invoke(context))
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return End.USAGE
    except click.UsageError as exc:
        asked = f" {exc.ctx.command_path} --help tells more." if exc.ctx else ""
        raise Invalid(f"{exc.format_message()}{asked}") from exc
    except click.exceptions.Exit as exc:
        return End(exc.exit_code)


if __name__ == "__main__":
    sys.exit(main())
