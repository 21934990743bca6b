"""The tables.  What stands here is wished for or decided, never merely observed."""

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

clusters = Table(
    "clusters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("goal", String(16), nullable=False),
    Column("topology", String(32), nullable=False),
    Column("durability", String(16), nullable=False),
    Column("primary_node", Integer),
    Column("term", Integer, nullable=False),
    Column("acknowledgers", Text, nullable=False),  # node ids, separated by commas
    Column("initialised", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("cluster_id", Integer, ForeignKey("clusters.id"), nullable=False, index=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("server_id", Integer, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("goal", String(16), nullable=False),
    Column("group_id", String(32), nullable=False, index=True),
    Column("created_at", DateTime, nullable=False),
    Column("key_fingerprint", String(64)),  # of the key that used the join token
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("cluster_id", Integer, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("nodes", Text, nullable=False),  # node ids, separated by commas
    Column("group_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("code", String(32), nullable=False),
    Column("says", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("deadline_at", DateTime, nullable=False),
    Column("ended_at", DateTime),
    Index("jobs_by_cluster", "cluster_id", "state"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime, nullable=False),
    Column("cluster", String(64), nullable=False, index=True),
    Column("node", Integer),
    Column("code", String(64), nullable=False),
    Column("says", Text, nullable=False),
    Column("actor", String(64), nullable=False),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(128), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("until", DateTime, nullable=False),
)

starts = Table(
    "starts",  # of a manager on this store; a start's id leads the numbers of its orders
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime, nullable=False),
    sqlite_autoincrement=True,
)
