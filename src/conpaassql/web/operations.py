"""The operation registry: every row of the catalog with the function that does it, for every face."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conpaassql import catalog
from conpaassql.catalog import Effect as Effect
from conpaassql.manager import queries, tenant, wishes
from conpaassql.params import Param


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that users can ask for.  ``call`` takes the manager and the parameters by name."""

    row: catalog.Row
    call: Callable[..., Any]

    @property
    def name(self) -> str:
        """The documented name of the method."""
        return self.row.name

    @property
    def says(self) -> str:
        """What it is for, in one sentence."""
        return self.row.says

    @property
    def effect(self) -> Effect:
        """What it does to the world."""
        return self.row.effect

    @property
    def params(self) -> tuple[Param, ...]:
        """What it takes."""
        return self.row.params

    @property
    def spellings(self) -> tuple[str, ...]:
        """Other names of the method."""
        return self.row.spellings

    @property
    def ignored(self) -> tuple[str, ...]:
        """Parameters that old clients send and that mean nothing."""
        return self.row.ignored

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the form field that carries an upload."""
        return self.row.files

    @property
    def changes(self) -> bool:
        """Whether the world is another afterwards."""
        return self.row.changes


CALLS: Mapping[str, Callable[..., Any]] = {
    "list_nodes": queries.list_nodes,
    "get_node_info": queries.get_node_info,
    "get_service_info": queries.get_service_info,
    "get_service_performance": queries.get_service_performance,
    "add_nodes": wishes.add_nodes,
    "remove_nodes": wishes.remove_nodes,
    "set_up_replica_master": wishes.switch_over,
    "set_up_replica_slave": wishes.follow,
    "shutdown": wishes.shut_down,
    "startup": wishes.start_up,
    "create_cluster": wishes.create_cluster,
    "delete_cluster": wishes.delete_cluster,
    "list_clusters": queries.list_clusters,
    "configure_user": tenant.configure_user,
    "delete_user": tenant.delete_user,
    "set_password": tenant.set_password,
    "get_users": tenant.get_users,
    "create_database": tenant.create_database,
    "delete_database": tenant.delete_database,
    "list_databases": tenant.list_databases,
    "set_server_configuration": tenant.set_server_configuration,
    "sqldump": tenant.dump,
    "load_dump": tenant.load,
    "getLog": queries.get_log,
    "get_node_log": tenant.node_log,
    "list_jobs": queries.list_jobs,
    "get_job": queries.get_job,
}

OPERATIONS: tuple[Operation, ...] = tuple(Operation(row, CALLS[row.name]) for row in catalog.ROWS)

BY_NAME: Mapping[str, Operation] = {
    spelling: operation for operation in OPERATIONS for spelling in (operation.name, *operation.spellings)
}
