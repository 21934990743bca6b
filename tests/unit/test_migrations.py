"""A store of an earlier version: opened by this one it keeps what it held, and equals a new one in form."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, inspect, text

from conpaassql.manager import schema
from conpaassql.manager.store import open_store


@contextmanager
def engine(file: Path) -> Iterator[Engine]:
    found = create_engine(f"sqlite:///{file}")
    try:
        yield found
    finally:
        found.dispose()


def form(found: Engine) -> dict[str, object]:
    """Return tables with their columns and indexes."""
    looked = inspect(found)
    return {
        table: (
            {(column["name"], str(column["type"]), column["nullable"]) for column in looked.get_columns(table)},
            {(index["name"], tuple(index["column_names"])) for index in looked.get_indexes(table)},
        )
        for table in looked.get_table_names()
        if table != "alembic_version"
    }


def first(file: Path) -> None:
    """Make a store of the first version, with a cluster and an event."""
    config = Config()
    config.set_main_option("script_location", "conpaassql.manager:migrations")
    with engine(file) as found, found.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        cluster = "('old', 'running', 'primary-replica', 'lossless', 3, '', 1)"
        names = "(name, goal, topology, durability, term, acknowledgers, initialised)"
        connection.execute(text(f"INSERT INTO clusters {names} VALUES {cluster}"))
        event = "('2024-01-01 00:00:00', 'old', 'joined', 'It joined.', 'manager')"
        connection.execute(text(f"INSERT INTO events (at, cluster, code, says, actor) VALUES {event}"))


def test_what_was_there_stays(tmp_path: Path) -> None:
    first(tmp_path / "store.sqlite")
    with closing(open_store(tmp_path / "store.sqlite")) as store:
        (cluster,) = store.clusters.list()
        assert (cluster.name, cluster.provider, cluster.term) == ("old", "default", 3)
        (event,) = store.events.list("old", 10)
        assert (event.says, event.provider) == ("It joined.", "")
        assert store.providers.list() == []
    with closing(open_store(tmp_path / "store.sqlite")) as store:  # a second time changes nothing
        assert len(store.clusters.list()) == 1


def test_the_way_of_versions_ends_at_the_tables(tmp_path: Path) -> None:
    first(tmp_path / "old.sqlite")
    open_store(tmp_path / "old.sqlite").close()
    with engine(tmp_path / "new.sqlite") as new, engine(tmp_path / "old.sqlite") as old:
        schema.metadata.create_all(new)
        assert form(old) == form(new)
