"""Clients that write all the time and note what was acknowledged."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import MySQLdb
from installation import Installation, connect

PACE_S = 0.005  # between two writes: at full speed on two cores no replica ever catches up with eight writers
TABLE = "CREATE TABLE IF NOT EXISTS load_test.w (writer INT, n INT, PRIMARY KEY (writer, n))"


@dataclass
class Writer:
    """One connection's work.  ``gap_s`` is the longest time between two acknowledgements."""

    number: int
    acknowledged: list[int] = field(default_factory=list)
    gap_s: float = 0.0


class Writers:
    """Several writers that find the primary by themselves and go on until told to stop."""

    def __init__(self, home: Installation, count: int, password: str) -> None:
        self._home = home
        self._password = password
        self._ca = home.state / "ca.pem"
        self._hosts = [home.node(node)["ip"] for node in home.call("list_nodes")["serviceNode"]]
        self._stop = threading.Event()
        self.writers = [Writer(number) for number in range(count)]
        self._threads = [threading.Thread(target=self._write, args=(writer,)) for writer in self.writers]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def total(self) -> int:
        """How many writes were acknowledged so far."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    @property
    def longest_gap_s(self) -> float:
        """The longest pause that any client saw."""
        return max(writer.gap_s for writer in self.writers)

    def _write(self, writer: Writer) -> None:
        n, last = 0, time.monotonic()
        for host in self._rounds():
            try:
                connection = connect(host, "loader", self._password, self._ca, read_timeout=5)
            except MySQLdb.Error:
                continue
            try:
                cursor = connection.cursor()
                while not self._stop.is_set():
                    n += 1
                    cursor.execute("INSERT INTO load_test.w VALUES (%s, %s)", (writer.number, n))
                    now = time.monotonic()
                    writer.gap_s, last = max(writer.gap_s, now - last), now
                    writer.acknowledged.append(n)
                    self._stop.wait(PACE_S)
            except MySQLdb.Error:
                continue
            finally:
                connection.close()

    def _rounds(self) -> Iterator[str]:
        while not self._stop.is_set():
            yield from self._hosts
            self._stop.wait(0.002)


def prepare(home: Installation, password: str) -> None:
    """Make the writers' user and table."""
    home.call("create_database", name="load_test")
    home.call("configure_user", username="loader", password=password)
    primary = home.cluster()["primary"]
    connection = home.sql(primary, "loader", password)
    connection.cursor().execute(TABLE)
    connection.close()


def present(home: Installation, node: int, password: str) -> set[tuple[int, int]]:
    """Return what a node holds."""
    connection = home.sql(node, "loader", password)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT writer, n FROM load_test.w")
        return set(cursor.fetchall())
    finally:
        connection.close()


def missing(home: Installation, load: Writers, node: int, password: str) -> set[tuple[int, int]]:
    """Return the acknowledged writes that a node lacks."""
    noted = {(writer.number, n) for writer in load.writers for n in writer.acknowledged}
    return noted - present(home, node, password)
