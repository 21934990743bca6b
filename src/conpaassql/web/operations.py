"""The operation registry: everything that can be asked of the manager, one row each, for every face."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from conpaassql.manager import queries, tenant, wishes
from conpaassql.web import params
from conpaassql.web.params import Param


class Effect(StrEnum):
    """What an operation does to the world, which is what a face may let through where."""

    LOOK = "look"  # from memory: answered at once, changes nothing
    READ = "read"  # from the store or an agent: may take a moment, changes nothing
    CHANGE = "change"
    DOWNLOAD = "download"  # changes nothing, answers with a stream
    UPLOAD = "upload"  # a change that comes with a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that users can ask for.

    ``call`` takes the manager and the parameters by name.  ``spellings`` are other names of the
    method, ``ignored`` parameters that old clients send and that mean nothing.  ``file`` names
    the form field that carries an upload.
    """

    name: str
    says: str
    effect: Effect
    call: Callable[..., Any]
    params: tuple[Param, ...] = ()
    spellings: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the world is another afterwards."""
        return self.effect in (Effect.CHANGE, Effect.UPLOAD)


NODE_SPELLINGS = ("serviceNodeId", "serviceName", "serviceNameId", "id")

CLUSTER = Param(
    name="cluster", read=params.cluster_name, says="The cluster's name.", required=False, default="default"
)
NODE = Param(name="node", aliases=NODE_SPELLINGS, read=params.node_id, says="Give the id of a node, from list_nodes.")
NODE_OR_ALL = Param(
    name="node", aliases=NODE_SPELLINGS, read=params.node_or_all, says="A node's id, or all.", required=False
)
USERNAME = Param(name="username", aliases=("user",), read=params.text, says="Give the user's name.")
PASSWORD = Param(name="password", read=params.text, says="Give the password.")
DATABASES = Param(
    name="databases", read=params.names, says="Names of databases; none: all.", required=False, default=()
)
FORCE = Param(name="force", read=params.flag, says="Whether to risk data.", required=False, default=False)
OLD = ("service_id", "cloud")  # clients of later years send these; there is one service and one cloud here


def _count(required: bool, default: int | None) -> Param:
    return Param(
        name="count",
        aliases=("slaves", "nodes"),
        read=params.whole_number(1, 10000),
        says="How many nodes.",
        required=required,
        default=default,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_nodes",
        says="List the ids of a cluster's nodes.",
        effect=Effect.LOOK,
        call=queries.list_nodes,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Operation(
        name="get_node_info",
        says="Show a node: address, role, lag, position, versions, progress.",
        effect=Effect.LOOK,
        call=queries.get_node_info,
        params=(CLUSTER, NODE),
        ignored=OLD,
    ),
    Operation(
        name="get_service_info",
        says="Show a cluster's state and what the diagnosis says.",
        effect=Effect.LOOK,
        call=queries.get_service_info,
        params=(CLUSTER,),
        ignored=(*OLD, *NODE_SPELLINGS),
    ),
    Operation(
        name="get_service_performance",
        says="Show request rate, error rate, throughput and response time.",
        effect=Effect.LOOK,
        call=queries.get_service_performance,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Operation(
        name="add_nodes",
        spellings=("add_node",),
        says="Add database nodes; the first becomes the primary, others replicate.",
        effect=Effect.CHANGE,
        call=wishes.add_nodes,
        params=(
            CLUSTER,
            Param(
                name="function", read=params.text, says="What the node does: agent.", required=False, default="agent"
            ),
            _count(required=False, default=1),
        ),
        ignored=OLD,
    ),
    Operation(
        name="remove_nodes",
        spellings=("remove_node", "delete_nodes", "delete_node"),
        says="Remove a node by id, or the newest replicas by count.",
        effect=Effect.CHANGE,
        call=wishes.remove_nodes,
        params=(
            CLUSTER,
            Param(
                name="node",
                aliases=NODE_SPELLINGS,
                read=params.node_id,
                says="The node's id.",
                required=False,
            ),
            _count(required=False, default=None),
            FORCE,
        ),
        ignored=OLD,
    ),
    Operation(
        name="set_up_replica_master",
        says="Make a replica the primary, without losing a write.",
        effect=Effect.CHANGE,
        call=wishes.switch_over,
        params=(CLUSTER, NODE),
        ignored=OLD,
    ),
    Operation(
        name="set_up_replica_slave",
        says="Make a node follow the present primary.",
        effect=Effect.CHANGE,
        call=wishes.follow,
        params=(
            CLUSTER,
            NODE,
            Param(name="master_host", read=params.text, says="The primary's address.", required=False),
        ),
        ignored=(*OLD, "master_log_file", "master_log_pos", "slave_server_id"),
    ),
    Operation(
        name="shutdown",
        says="Stop a cluster's servers; machines and data stay.",
        effect=Effect.CHANGE,
        call=wishes.shut_down,
        params=(CLUSTER,),
        ignored=(*OLD, *NODE_SPELLINGS),
    ),
    Operation(
        name="startup",
        says="Bring a stopped cluster back; an empty one gets its first node.",
        effect=Effect.CHANGE,
        call=wishes.start_up,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Operation(
        name="create_cluster",
        says="Make a cluster, without nodes yet.",
        effect=Effect.CHANGE,
        call=wishes.create_cluster,
        params=(
            Param(name="name", aliases=("cluster",), read=params.cluster_name, says="Give the new cluster's name."),
            Param(
                name="durability",
                read=params.one_of("lossless", "async"),
                says="When a commit counts.",
                required=False,
                default="lossless",
            ),
        ),
    ),
    Operation(
        name="delete_cluster",
        says="Remove a cluster; with its data only by force.",
        effect=Effect.CHANGE,
        call=wishes.delete_cluster,
        params=(
            Param(name="cluster", aliases=("name",), read=params.cluster_name, says="Give the cluster's name."),
            FORCE,
        ),
    ),
    Operation(
        name="list_clusters",
        says="List the clusters.",
        effect=Effect.LOOK,
        call=queries.list_clusters,
    ),
    Operation(
        name="configure_user",
        says="Create a user of the database, or change its password and rights.",
        effect=Effect.CHANGE,
        call=tenant.configure_user,
        params=(
            CLUSTER,
            NODE_OR_ALL,
            USERNAME,
            PASSWORD,
            Param(name="host", read=params.text, says="Where from.", required=False, default="%"),
            DATABASES,
        ),
        ignored=OLD,
    ),
    Operation(
        name="delete_user",
        says="Remove a user of the database.",
        effect=Effect.CHANGE,
        call=tenant.delete_user,
        params=(CLUSTER, NODE_OR_ALL, USERNAME),
        ignored=OLD,
    ),
    Operation(
        name="set_password",
        says="Change the password of a user of the database.",
        effect=Effect.CHANGE,
        call=tenant.set_password,
        params=(CLUSTER, USERNAME, PASSWORD),
        ignored=OLD,
    ),
    Operation(
        name="get_users",
        spellings=("get_all_users",),
        says="List the users of the database.",
        effect=Effect.READ,
        call=tenant.get_users,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Operation(
        name="create_database",
        says="Create a database.",
        effect=Effect.CHANGE,
        call=tenant.create_database,
        params=(CLUSTER, Param(name="name", read=params.text, says="Give the database's name.")),
    ),
    Operation(
        name="delete_database",
        says="Remove a database and all that is in it.",
        effect=Effect.CHANGE,
        call=tenant.delete_database,
        params=(CLUSTER, Param(name="name", read=params.text, says="Give the database's name.")),
    ),
    Operation(
        name="list_databases",
        says="List the databases.",
        effect=Effect.READ,
        call=tenant.list_databases,
        params=(CLUSTER,),
    ),
    Operation(
        name="set_server_configuration",
        says="Change dynamic server options on all nodes, until they are started again.",
        effect=Effect.CHANGE,
        call=tenant.set_server_configuration,
        params=(CLUSTER, Param(name="options", read=params.mapping, says="Give options and values.")),
    ),
    Operation(
        name="sqldump",
        says="Download all databases, or some, as SQL.",
        effect=Effect.DOWNLOAD,
        call=tenant.dump,
        params=(CLUSTER, DATABASES),
        ignored=OLD,
    ),
    Operation(
        name="load_dump",
        spellings=("send_mysqldump", "create_with_MySQLdump"),
        says="Upload SQL and run it on the primary.",
        effect=Effect.UPLOAD,
        call=tenant.load,
        params=(CLUSTER, NODE_OR_ALL),
        ignored=OLD,
        files=("mysqldump_file", "mysqldump"),
    ),
    Operation(
        name="getLog",
        spellings=("get_log",),
        says="Show the newest events of a cluster.",
        effect=Effect.READ,
        call=queries.get_log,
        params=(
            CLUSTER,
            Param(
                name="lines", read=params.whole_number(1, 10000), says="How many.", required=False, default=200
            ),
        ),
        ignored=OLD,
    ),
    Operation(
        name="get_node_log",
        says="Show the end of a node's logs.",
        effect=Effect.READ,
        call=tenant.node_log,
        params=(
            CLUSTER,
            NODE,
            Param(
                name="lines", read=params.whole_number(1, 10000), says="How many.", required=False, default=200
            ),
        ),
    ),
    Operation(
        name="list_jobs",
        says="List what was asked for, and how it went.",
        effect=Effect.READ,
        call=queries.list_jobs,
        params=(CLUSTER,),
    ),
    Operation(
        name="get_job",
        says="Show one job.",
        effect=Effect.READ,
        call=queries.get_job,
        params=(Param(name="job", aliases=("id",), read=params.node_id, says="Give the job's id."),),
    ),
)

BY_NAME: Mapping[str, Operation] = {
    spelling: operation for operation in OPERATIONS for spelling in (operation.name, *operation.spellings)
}
