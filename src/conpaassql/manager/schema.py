"""The tables.  What stands here is wished for or decided, never merely observed."""

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
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
    Column("provider", String(128), nullable=False, server_default="default"),
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
    Column("cluster_id", Integer, nullable=False),  # 0: a job of ``machine_jobs``
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
    Column("provider", String(128), nullable=False, server_default="", index=True),
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

providers = Table(
    "providers",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("type", String(64), nullable=False),
    Column("username", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("default_image", Text, nullable=False),
    Column("default_flavor", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # password and further options, by the vault
    Column("created_at", DateTime, nullable=False),
)

machines = Table(
    "machines",
    metadata,
    Column("uuid", String(40), primary_key=True),
    Column("provider", String(128), nullable=False, index=True),
    Column("group_id", String(32), nullable=False, index=True),
    Column("goal", String(16), nullable=False),
    Column("stored", Boolean, nullable=False),  # False: only while its job runs
    Column("zone", Text, nullable=False),
    Column("addresses", Text, nullable=False),  # separated by commas
    Column("public_address", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
)

machine_jobs = Table(
    "machine_jobs",  # what jobs at a provider have beyond their row in ``jobs``
    metadata,
    Column("job_id", Integer, primary_key=True, autoincrement=False),
    Column("provider", String(128), nullable=False, index=True),
    Column("machines", Text, nullable=False),  # uuids, separated by commas
    Column("phase", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the order, by the vault: user data may hold secrets
    Column("result", Text, nullable=False),  # JSON
    Column("leftovers", Text, nullable=False),  # names of VMs, separated by commas
)

buried = Table(
    "buried",  # nodes that were removed: a VM of such a name and group is nobody's any more
    metadata,
    Column("name", String(128), primary_key=True),
    Column("group_id", String(32), primary_key=True),
    Column("at", DateTime, nullable=False),
)
