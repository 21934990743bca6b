"""VM templates."""

from __future__ import annotations

from onesim import allocate, devices, objects, pools, restricted, xml
from onesim.attrs import Attrs
from onesim.kernel import Core, Method, parsed
from onesim.model import User, Vm, VmTemplate
from onesim.objects import TEMPLATE, check_name, head, need_free
from onesim.rights import MANAGE, USE, need, owned


def new(core: Core, who: User, text: str) -> int:
    attrs = parsed(text)
    restricted.check(who, attrs)
    name = attrs.text("NAME")
    check_name(name)
    need_free(core.pools.templates, "virtual machine template", "TEMPLATE", name, who.id)
    template = VmTemplate(core.number("template"), name, attrs=attrs, regtime=core.now())
    if not name:
        template.name = f"template-{template.id}"
    attrs.drop("NAME")
    owned(core, template, who)
    core.pools.templates[template.id] = template
    return template.id


def info(core: Core, who: User, number: int, extended: bool = False, decrypt: bool = False) -> str:
    template: VmTemplate = TEMPLATE.get(core, number)
    need(who, template, USE, "TEMPLATE")
    if not extended:
        return shown(template, template.attrs)
    return shown(template, _extended(core, who, template.attrs.copy()))


def _extended(core: Core, who: User, attrs: Attrs) -> Attrs:
    """Fill in what the images would add to the disks; targets are only given to VMs."""
    for number, disk in enumerate(attrs.vectors("DISK")):
        had = "TARGET" in disk
        devices.fill_disk(core, who, Vm(-1, ""), disk, number)
        if not had:
            del disk["TARGET"]
    return attrs


def shown(template: VmTemplate, attrs: Attrs) -> str:
    return xml.element("VMTEMPLATE", head(template), xml.plain("REGTIME", template.regtime), attrs.xml())


def pool(core: Core, who: User, filter_flag: int, start: int, end: int) -> str:
    found = pools.chosen(core.pools.templates, who, filter_flag, start, end)
    return xml.element("VMTEMPLATE_POOL", *(shown(template, template.attrs) for template in found))


def delete(core: Core, who: User, number: int, with_images: bool = False) -> int:
    template: VmTemplate = TEMPLATE.get(core, number)
    need(who, template, MANAGE, "TEMPLATE")
    del core.pools.templates[number]
    return number


def instantiate(
    core: Core, who: User, number: int, name: str, hold: bool = False, extra: str = "", persistent: bool = False
) -> int:
    """Make a VM; attributes of ``extra`` take the place of the template's of the same name."""
    template: VmTemplate = TEMPLATE.get(core, number)
    need(who, template, USE, "TEMPLATE")
    attrs = template.attrs.copy()
    if extra:
        more = parsed(extra)
        restricted.check(who, more)
        attrs.merge(more)
    check_name(name)
    attrs.drop("NAME", "USER_INPUTS")
    attrs.put("TEMPLATE_ID", str(number))
    attrs.put("NAME", name or f"{template.name}-{core.counts.get('vm', 0)}")
    return allocate.made(core, who, attrs, hold).id


def clone(core: Core, who: User, number: int, name: str, with_images: bool = False) -> int:
    template: VmTemplate = TEMPLATE.get(core, number)
    need(who, template, USE, "TEMPLATE")
    need_free(core.pools.templates, "virtual machine template", "TEMPLATE", name, who.id)
    copy = VmTemplate(core.number("template"), name, attrs=template.attrs.copy(), regtime=core.now())
    owned(core, copy, who)
    core.pools.templates[copy.id] = copy
    return copy.id


METHODS = {
    **objects.methods(TEMPLATE),
    "one.template.allocate": Method("s", new),
    "one.template.info": Method("i?bb", info),
    "one.template.delete": Method("i?b", delete),
    "one.template.instantiate": Method("is?bsb", instantiate),
    "one.template.clone": Method("is?b", clone),
    "one.templatepool.info": Method("iii", pool),
}
