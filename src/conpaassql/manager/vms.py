"""Performs the steps that are about VMs: one short function each, safe to repeat."""

from collections.abc import Callable, Mapping
from typing import Any

from conpaassql import packages, render
from conpaassql.cluster import steps
from conpaassql.cluster.facts import Facts, Refusal, Sight
from conpaassql.cluster.steps import Step
from conpaassql.errors import Error
from conpaassql.manager import bootstrap, choice
from conpaassql.manager.context import Manager
from conpaassql.model import VmSpec
from conpaassql.offers import Extras
from conpaassql.settings import Manager as ManagerSection


def tags(manager: Manager, facts: Facts, sight: Sight) -> dict[str, str]:
    """Return what a VM carries so that it can be found, undone and adopted."""
    return {
        "manager": manager.settings.manager.name,
        "cluster": facts.cluster.name,
        "cluster_id": str(facts.cluster.id),
        "durability": facts.cluster.durability,
        "node": str(sight.id),
        "server_id": str(sight.node.server_id),
        "kind": sight.node.kind,
        "group": sight.node.group,
    }


def _create(manager: Manager, facts: Facts, step: steps.CreateVm | steps.RecreateVm) -> None:
    """Ask for a node's VM; when the cloud refuses for good the job that wants the node is told."""
    try:
        _ask_for(manager, facts, facts.by_id[step.node])
    except Error as exc:
        if not exc.retry:
            manager.looks.refuse(step.node, Refusal(code=exc.code, says=exc.says))
        raise
    manager.looks.refuse(step.node, None)


def _ask_for(manager: Manager, facts: Facts, sight: Sight) -> None:
    settings, provider = manager.settings, manager.providers.of(facts.cluster)
    values = {**settings.template.values(), "NAME": sight.node.name}
    template = render.vm_template(settings.template, values)
    offered = choice.of_nodes(provider.name, provider.defaults, settings.template)
    provider.create(
        VmSpec(
            name=sight.node.name,
            flavor=offered.flavor,
            tags=tags(manager, facts, sight),
            context=_context(manager, facts, sight),
            template=template,
            image=offered.image,
            network=offered.network,
            flavor_id=offered.flavor_id,
            extras=Extras(
                apart=f"{settings.manager.name}-{facts.cluster.name}" if settings.template.different_hosts else "",
                data_disk_mib=settings.template.data_disk_size,
            ),
        )
    )


def _context(manager: Manager, facts: Facts, sight: Sight) -> Mapping[str, str]:
    """Return what the VM needs to become the node."""
    settings = manager.settings
    invitation = bootstrap.Invitation(
        node=sight.id,
        cluster=facts.cluster.name,
        manager_url=settings.manager.public_url,
        join_token=manager.join_token(sight.node.name),
        authority_pem=manager.authority.certificate_pem,
    )
    offer = _offer(settings.manager) if settings.manager.install_agents else None
    return bootstrap.context(invitation, offer, settings.manager.report_ready, settings.template.context)


def _offer(settings: ManagerSection) -> bootstrap.Offer:
    wheel = packages.package(settings.package_dir)
    return bootstrap.Offer(
        package_url=f"{settings.public_url}{packages.URL_PATH}/{wheel.path.name}",
        package_sha256=wheel.sha256,
        install_script=packages.script(packages.INSTALL_SCRIPT),
    )


def _power_on(manager: Manager, facts: Facts, step: steps.PowerOnVm) -> None:
    if vm := facts.by_id[step.node].vm:
        manager.providers.of(facts.cluster).power_on(vm.id)


def _delete(manager: Manager, facts: Facts, step: steps.DeleteVm) -> None:
    if vm := facts.by_id[step.node].vm:
        manager.providers.of(facts.cluster).delete(vm.id)


def _delete_stray(manager: Manager, facts: Facts, step: steps.DeleteStray) -> None:
    manager.providers.of(facts.cluster).delete(step.vm)


def _label(manager: Manager, facts: Facts, step: steps.LabelVm) -> None:
    if vm := facts.by_id[step.node].vm:
        labels = {"cluster": facts.cluster.name, "node": str(step.node), "role": step.role}
        manager.providers.of(facts.cluster).label(vm.id, labels)


PERFORMERS: Mapping[type[Step], Callable[[Manager, Facts, Any], None]] = {
    steps.CreateVm: _create,
    steps.RecreateVm: _create,
    steps.PowerOnVm: _power_on,
    steps.DeleteVm: _delete,
    steps.DeleteStray: _delete_stray,
    steps.LabelVm: _label,
}
