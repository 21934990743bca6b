"""What the demo does with its database, by the ordinary client and over TLS."""

import os
import subprocess
import time
from pathlib import Path

from conpaassql.errors import MysqlError, Unavailable
from conpaassql.protocol import MYSQL_PORT

PATIENCE_S = 10.0
SAYS = "written on the primary"  # the row of ``write``


def write_login(file: Path, user: str, password: str, authority: Path) -> None:
    """Write an option file for the client that only its owner can read: nothing secret in a command line."""
    text = (
        f"[client]\nuser = {user}\npassword = {password}\nport = {MYSQL_PORT}\nprotocol = tcp\n"
        f'ssl-ca = "{authority}"\nssl-verify-server-cert\n'
    )
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)


def run(login: Path, host: str, statements: str) -> str:
    """Run statements on a node and return what they print.

    Raises:
        MysqlError: the client or the server refused.
    """
    # --defaults-file and not -extra-file: what stands in ~/.my.cnf would win over the latter.
    command = ["mariadb", f"--defaults-file={login}", f"--host={host}", "--batch", "--skip-column-names", "demo"]
    try:
        done = subprocess.run(command, input=statements, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except subprocess.CalledProcessError as exc:
        raise MysqlError(f"The database at {host} refused: {exc.stderr.strip()}.") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MysqlError(f"The client could not ask the database at {host}: {exc}.") from exc
    return done.stdout.strip()


def write(login: Path, primary: str) -> None:
    """Make a table with one row."""
    run(
        login,
        primary,
        "CREATE TABLE greeting (id INT PRIMARY KEY, says VARCHAR(100) NOT NULL);"
        "INSERT INTO greeting VALUES (1, 'written on the primary');",
    )


def await_row(login: Path, replica: str) -> None:
    """Return when a replica shows the row.

    Raises:
        Unavailable: it does not in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (seen := _seen(login, replica)) != SAYS:
        if time.monotonic() > deadline:
            raise Unavailable(f"The row did not come to {replica} in {PATIENCE_S:g} s; it showed: {seen or 'nothing'}.")
        time.sleep(0.05)


def _seen(login: Path, replica: str) -> str:
    """Return what a replica answers; user, database and table may not have come yet."""
    try:
        return run(login, replica, "SELECT says FROM greeting")
    except MysqlError as exc:
        return exc.says
