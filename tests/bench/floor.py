"""What the same work costs by hand, with the same server options and nothing else around it."""

import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import MySQLdb

from conpaassql import render

OPTIONS = {"ssl": "OFF"}


@dataclass
class Bare:
    """One mariadbd without a manager."""

    root: Path
    address: str
    number: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.root / "data"

    @property
    def socket(self) -> Path:
        """Its socket."""
        return self.root / "run" / "mysqld.sock"

    def configure(self, memory_mib: int = 256) -> None:
        """Write the product's own option file, but for certificates, which only an enrolled node has."""
        for name in ("run", "log", "tmp", "files"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        text = render.my_cnf(memory_mib, self.number, 1, {})
        text = text.replace("@ROOT@", str(self.root)).replace("@ADDRESS@", self.address)
        kept = [line for line in text.splitlines() if not line.lstrip().startswith(("ssl", "require_secure"))]
        (self.root / "my.cnf").write_text("\n".join(kept) + "\n")

    def start(self) -> None:
        """Start the server and return when it accepts."""
        with (self.root / "log" / "bare.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["mariadbd", f"--defaults-file={self.root}/my.cnf", "--user=root"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while True:
            with suppress(MySQLdb.Error):
                self.connect().close()
                return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError((self.root / "log" / "bare.log").read_text()[-2000:])
            time.sleep(0.002)

    def connect(self) -> "MySQLdb.connections.Connection":
        """Connect as root by the socket."""
        return MySQLdb.connect(unix_socket=str(self.socket), user="root", connect_timeout=2, autocommit=True)

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements and return the rows of the last."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop the server and remove its files."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


def copy_template(template: Path, data: Path) -> None:
    """Copy a prepared data directory."""
    subprocess.run(["cp", "-a", "--sparse=always", str(template.resolve()), str(data)], check=True)


def pipe(source_cnf: Path, socket: Path, target: Path, *, options: tuple[str, ...] = ()) -> None:
    """Copy a running server's data with mariadb-backup through a local pipe."""
    target.mkdir(parents=True)
    backup = subprocess.Popen(
        [
            "mariadb-backup",
            f"--defaults-file={source_cnf}",
            "--backup",
            "--stream=mbstream",
            "--user=root",
            f"--socket={socket}",
            f"--target-dir={target}",
            "--log-copy-interval=50",
            *(options or ("--parallel=2",)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    subprocess.run(
        ["mbstream", "-x", "-p", "2", "-C", str(target)], stdin=backup.stdout, stderr=subprocess.DEVNULL, check=True
    )
    assert backup.stdout is not None
    backup.stdout.close()
    if backup.wait():
        raise RuntimeError("mariadb-backup failed")


def prepare(target: Path) -> None:
    """Make a copy startable."""
    subprocess.run(
        ["mariadb-backup", "--prepare", f"--target-dir={target}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
