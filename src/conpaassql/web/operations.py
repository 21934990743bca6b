"""What can be asked for, for every face: the rows of the catalog, and the function that does each."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from conpaassql import catalog
from conpaassql.catalog import Effect as Effect
from conpaassql.manager import clouds, machine_queries, machines, queries, tenant, wishes
from conpaassql.manager.context import Manager

Operation = catalog.Row
OPERATIONS = catalog.ROWS


def _whole(kind: type, act: Callable[[Manager, Any], Any]) -> Callable[..., Any]:
    """Let a function that takes its many parameters as one frozen value be called with each by its name."""

    def call(manager: Manager, **values: Any) -> Any:
        return act(manager, kind(**values))

    named = [inspect.Parameter(found.name, inspect.Parameter.KEYWORD_ONLY) for found in fields(kind)]
    manager = inspect.Parameter("manager", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = inspect.Signature([manager, *named])  # type: ignore[attr-defined]
    return call


# By the name of the row; each takes the manager and the parameters by name.
CALLS: Mapping[str, Callable[..., Any]] = {
    "list_nodes": queries.list_nodes,
    "get_node_info": queries.get_node_info,
    "get_service_info": queries.get_service_info,
    "get_service_performance": queries.get_service_performance,
    "add_nodes": wishes.add_nodes,
    "remove_nodes": wishes.remove_nodes,
    "create_replica": wishes.create_replica,
    "register_node": wishes.register_node,
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
    "provider_register": _whole(clouds.Registration, clouds.register),
    "provider_update": _whole(clouds.Update, clouds.update),
    "provider_unregister": clouds.unregister,
    "provider_list": clouds.providers,
    "check_provider": clouds.check,
    "image_list": clouds.images,
    "flavor_list": clouds.flavors,
    "network_list": clouds.networks,
    "machine_create": _whole(machines.Create, machines.create),
    "machine_destroy": machines.destroy,
    "machine_list": machine_queries.machines,
    "snapshot_create": machines.snapshot,
    "snapshot_destroy": machines.unsnapshot,
}

BY_NAME: Mapping[str, Operation] = {
    spelling: operation for operation in OPERATIONS for spelling in (operation.name, *operation.spellings)
}
