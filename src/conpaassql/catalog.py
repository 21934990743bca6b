"""The table of everything that can be asked of the manager: names, spellings and parameters, one row each.

It says what, not how: ``web.operations`` joins each row to the function that does it, and the
client reads the same rows without the manager behind them.
"""

from conpaassql import catalog_cloud, params
from conpaassql.operation import Effect as Effect
from conpaassql.operation import Row as Row
from conpaassql.params import NODE_SPELLINGS as NODE_SPELLINGS
from conpaassql.params import Param

CLUSTER = Param(name="cluster", read=params.cluster_name, says="The cluster's name.", required=False, default="default")
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


ROWS: tuple[Row, ...] = (
    Row(
        name="list_nodes",
        says="List the ids of a cluster's nodes.",
        effect=Effect.LOOK,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Row(
        name="get_node_info",
        says="Show a node: address, role, lag, position, versions, progress.",
        effect=Effect.LOOK,
        params=(CLUSTER, NODE),
        ignored=OLD,
    ),
    Row(
        name="get_service_info",
        says="Show a cluster's state and what the diagnosis says.",
        effect=Effect.LOOK,
        params=(CLUSTER,),
        ignored=(*OLD, *NODE_SPELLINGS),
    ),
    Row(
        name="get_service_performance",
        says="Show request rate, error rate, throughput and response time.",
        effect=Effect.LOOK,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Row(
        name="add_nodes",
        spellings=("add_node",),
        says="Add database nodes; the first that is up becomes the primary, others replicate.",
        effect=Effect.CHANGE,
        params=(
            CLUSTER,
            Param(
                name="function", read=params.text, says="What the node does: agent.", required=False, default="agent"
            ),
            _count(required=False, default=1),
        ),
        ignored=OLD,
    ),
    Row(
        name="remove_nodes",
        spellings=("remove_node", "delete_nodes", "delete_node"),
        says="Remove a node by id, or the newest replicas by count.",
        effect=Effect.CHANGE,
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
    Row(
        name="create_replica",
        says="Add one node, which replicates; the same as add_nodes.",
        effect=Effect.CHANGE,
        params=(
            CLUSTER,
            Param(
                name="master",
                aliases=("master_id", "id"),
                read=params.node_id,
                says="A node of the cluster; all follow its primary.",
                required=False,
            ),
        ),
        ignored=OLD,
    ),
    Row(
        name="register_node",
        says="Refused: agents join by themselves.",
        effect=Effect.CHANGE,
        ignored=(*OLD, *NODE_SPELLINGS, "cluster", "ip", "host", "port"),
    ),
    Row(
        name="set_up_replica_master",
        says="Make a replica the primary, without losing a write.",
        effect=Effect.CHANGE,
        params=(CLUSTER, NODE),
        ignored=OLD,
    ),
    Row(
        name="set_up_replica_slave",
        says="Make a node follow the present primary.",
        effect=Effect.CHANGE,
        params=(
            CLUSTER,
            NODE,
            Param(name="master_host", read=params.text, says="The primary's address.", required=False),
        ),
        ignored=(*OLD, "master_log_file", "master_log_pos", "slave_server_id"),
    ),
    Row(
        name="shutdown",
        says="Stop a cluster's servers; machines and data stay.",
        effect=Effect.CHANGE,
        params=(CLUSTER,),
        ignored=(*OLD, *NODE_SPELLINGS),
    ),
    Row(
        name="startup",
        says="Bring a stopped cluster back; an empty one gets its first node.",
        effect=Effect.CHANGE,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Row(
        name="create_cluster",
        says="Make a cluster, without nodes yet.",
        effect=Effect.CHANGE,
        params=(
            Param(name="name", aliases=("cluster",), read=params.cluster_name, says="Give the new cluster's name."),
            Param(
                name="durability",
                read=params.one_of("lossless", "async"),
                says="When a commit counts.",
                required=False,
                default="lossless",
            ),
            catalog_cloud.OF_CLUSTER,
        ),
    ),
    Row(
        name="delete_cluster",
        says="Remove a cluster; with its data only by force.",
        effect=Effect.CHANGE,
        params=(
            Param(name="cluster", aliases=("name",), read=params.cluster_name, says="Give the cluster's name."),
            FORCE,
        ),
    ),
    Row(
        name="list_clusters",
        says="List the clusters.",
        effect=Effect.LOOK,
    ),
    Row(
        name="configure_user",
        says="Create a user of the database, or change its password and rights.",
        effect=Effect.CHANGE,
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
    Row(
        name="delete_user",
        says="Remove a user of the database.",
        effect=Effect.CHANGE,
        params=(CLUSTER, NODE_OR_ALL, USERNAME),
        ignored=OLD,
    ),
    Row(
        name="set_password",
        says="Change the password of a user of the database.",
        effect=Effect.CHANGE,
        params=(CLUSTER, USERNAME, PASSWORD),
        ignored=OLD,
    ),
    Row(
        name="get_users",
        spellings=("get_all_users",),
        says="List the users of the database.",
        effect=Effect.READ,
        params=(CLUSTER,),
        ignored=OLD,
    ),
    Row(
        name="create_database",
        says="Create a database.",
        effect=Effect.CHANGE,
        params=(CLUSTER, Param(name="name", read=params.text, says="Give the database's name.")),
    ),
    Row(
        name="delete_database",
        says="Remove a database and all that is in it.",
        effect=Effect.CHANGE,
        params=(CLUSTER, Param(name="name", read=params.text, says="Give the database's name.")),
    ),
    Row(
        name="list_databases",
        says="List the databases.",
        effect=Effect.READ,
        params=(CLUSTER,),
    ),
    Row(
        name="set_server_configuration",
        says="Change dynamic server options on all nodes, until they are started again.",
        effect=Effect.CHANGE,
        params=(CLUSTER, Param(name="options", read=params.mapping, says="Give options and values.")),
    ),
    Row(
        name="sqldump",
        says="Download all databases, or some, as SQL.",
        effect=Effect.DOWNLOAD,
        params=(CLUSTER, DATABASES),
        ignored=OLD,
    ),
    Row(
        name="load_dump",
        spellings=("send_mysqldump", "create_with_MySQLdump"),
        says="Upload SQL and run it on the primary.",
        effect=Effect.UPLOAD,
        params=(CLUSTER, NODE_OR_ALL),
        ignored=OLD,
        files=("mysqldump_file", "mysqldump"),
    ),
    Row(
        name="getLog",
        spellings=("get_log",),
        says="Show the newest events of a cluster or of a provider.",
        effect=Effect.READ,
        params=(
            CLUSTER,
            catalog_cloud.INSTEAD_OF_CLUSTER,
            Param(name="lines", read=params.whole_number(1, 10000), says="How many.", required=False, default=200),
        ),
        ignored=OLD,
    ),
    Row(
        name="get_node_log",
        says="Show the end of a node's logs.",
        effect=Effect.READ,
        params=(
            CLUSTER,
            NODE,
            Param(name="lines", read=params.whole_number(1, 10000), says="How many.", required=False, default=200),
        ),
    ),
    Row(
        name="list_jobs",
        says="List what was asked for of a cluster or of a provider, and how it went.",
        effect=Effect.READ,
        params=(CLUSTER, catalog_cloud.INSTEAD_OF_CLUSTER),
    ),
    Row(
        name="get_job",
        says="Show one job.",
        effect=Effect.READ,
        params=(Param(name="job", aliases=("id",), read=params.node_id, says="Give the job's id."),),
    ),
    *catalog_cloud.ROWS,
)
