"""Performs the steps that are about VMs: one short function each, safe to repeat."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from conpaassql import packages, render
from conpaassql.cluster import steps
from conpaassql.cluster.facts import Facts, Refusal, Sight
from conpaassql.cluster.steps import Step
from conpaassql.errors import Error
from conpaassql.manager import bootstrap, choice
from conpaassql.manager.context import Manager
from conpaassql.manager.provider import Provider
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


@contextmanager
def _noted(manager: Manager, node: int) -> Iterator[None]:
    """Remember what the cloud says instead of doing it: the job that waits for it tells, and ends if that is final."""
    try:
        yield
    except Error as exc:
        manager.looks.refuse(node, Refusal(code=exc.code, says=exc.says, final=not exc.retry))
        raise
    manager.looks.refuse(node, None)


def _create(manager: Manager, facts: Facts, step: steps.CreateVm | steps.RecreateVm) -> None:
    with _noted(manager, step.node):
        _ask_for(manager, facts, facts.by_id[step.node])


def _ask_for(manager: Manager, facts: Facts, sight: Sight) -> None:
    provider = manager.providers.of(facts.cluster)
    plain = of_node(manager, provider, sight.node.name, facts.cluster.name)
    provider.create(replace(plain, tags=tags(manager, facts, sight), context=_context(manager, facts, sight)))


def of_node(manager: Manager, provider: Provider, name: str, cluster: str) -> VmSpec:
    """Return what a node's VM is at a provider, still without context, and with no tag but the manager's.

    Raises:
        ConfigError: the VM template is broken.
    """
    template = manager.settings.template
    offered = choice.of_nodes(provider.name, provider.defaults, template)
    return VmSpec(
        name=name,
        flavor=offered.flavor,
        tags={"manager": manager.settings.manager.name},
        context={},
        template=render.vm_template(template, {**choice.words(offered), "NAME": name}),
        image=offered.image,
        network=offered.network,
        flavor_id=offered.flavor_id,
        extras=Extras(
            apart=cluster if template.different_hosts else "",
            data_disk_mib=template.data_disk_size,
        ),
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
        with _noted(manager, step.node):
            manager.providers.of(facts.cluster).power_on(vm.id)


def _delete(manager: Manager, facts: Facts, step: steps.DeleteVm) -> None:
    if vm := facts.by_id[step.node].vm:
        with _noted(manager, step.node):
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
