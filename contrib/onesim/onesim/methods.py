"""The table of all methods, and what happens around each call: parameters, session, lock, answer."""

from __future__ import annotations

from onesim import (
    actions,
    datastores,
    errors,
    hosts,
    hotplug,
    images,
    networks,
    others,
    templates,
    users,
    vmconf,
    vmgroups,
    vmpool,
    wire,
    xml,
)
from onesim.kernel import Core, Method, checked
from onesim.model import User

_NO_SESSION = (
    "Unexpected error executing code for particular method, detected by Xmlrpc-c method registry code.  "
    "Method did not fail; rather, it did not complete at all.  Subscript of xmlrpc_c::paramList out of bounds"
)


def version(core: Core, who: User) -> str:
    return core.config.version


def configuration(core: Core, who: User) -> str:
    """Return the few lines of oned.conf that the simulator knows."""
    if not who.admin:
        text = "The oned configuration can only be retrieved by users in the oneadmin group"
        raise errors.OneError(errors.AUTHORIZATION, text)
    config = core.config
    known = {
        "API_LIST_ORDER": "DESC",
        "CONTEXT_RESTRICTED_DIRS": "/etc",
        "ONEGATE_ENDPOINT": config.onegate,
        "SCHED_MAX_WND_LENGTH": config.window_vms,
        "SCHED_MAX_WND_TIME": config.window_s,
        "SCHED_RETRY_TIME": config.retry_s,
        "VERSION": config.version,
    }
    return xml.element("OPENNEBULA_CONFIGURATION", xml.cdatas(known))


# Methods that came later than the first of 5.x; an older core does not define them.
SINCE = {
    "one.vm.diskresize": (5, 4),
    "one.vm.lock": (5, 6),
    "one.vm.unlock": (5, 6),
    "one.vmpool.infoextended": (5, 10),
    "one.vmpool.infoset": (6, 0),
    "one.user.enable": (6, 0),
    "one.vm.schedadd": (6, 2),
    "one.vm.scheddelete": (6, 2),
}


def _old(core: Core, name: str) -> bool:
    """Whether a method is younger than the core."""
    return tuple(map(int, core.config.version.split(".")[:2])) < SINCE.get(name, (0, 0))


METHODS: dict[str, Method] = {
    "one.system.version": Method("", version),
    "one.system.config": Method("", configuration),
    **users.METHODS,
    **hosts.METHODS,
    **datastores.METHODS,
    **images.METHODS,
    **networks.METHODS,
    **templates.METHODS,
    **vmgroups.METHODS,
    **others.METHODS,
    **vmconf.METHODS,
    **actions.METHODS,
    **hotplug.METHODS,
    **vmpool.METHODS,
}
_WORDS = {"s": "string", "i": "int", "b": "boolean", "a": "array"}


def called(core: Core, call: wire.Call) -> object:
    """Do a call and return its answer: for the core's methods an array of 3, or of 5 for an error.

    Raises:
        errors.Fault: the call itself is wrong.
    """
    own = _SYSTEM.get(call.method)
    if own is not None:
        return own(core, call)
    method = METHODS.get(call.method)
    if method is None or _old(core, call.method):
        raise errors.Fault(errors.NOT_DEFINED, f"Method '{call.method}' not defined")
    if not call.params:
        raise errors.Fault(errors.NOT_COMPLETED, _NO_SESSION)
    try:
        with core.lock:
            return [True, _run(core, method, call), 0]
    except errors.OneError as exc:
        return [False, f"[{call.method}] {exc.text}", exc.code, exc.object_id, wire.Big(-1)]


def _run(core: Core, method: Method, call: wire.Call) -> object:
    session, *params = call.params
    who = users.authenticated(core, session)
    if who is None:
        raise errors.OneError(errors.AUTHENTICATION, "User couldn't be authenticated, aborting call.")
    return method.run(core, who, *checked(method.takes, tuple(params)))


def _list_methods(core: Core, call: wire.Call) -> object:
    return [*_SYSTEM, *METHODS]


def _signature(core: Core, call: wire.Call) -> object:
    method = METHODS.get(str(call.params[0]) if call.params else "")
    if method is None:
        raise errors.Fault(errors.NOT_DEFINED, "Method not defined")
    return [["array", "string", *(_WORDS[letter] for letter in method.takes.replace("?", ""))]]


def _help(core: Core, call: wire.Call) -> object:
    return f"See OpenNebula's documentation of {call.params[0] if call.params else ''}"


def _multicall(core: Core, call: wire.Call) -> object:
    answers: list[object] = []
    for wanted in call.params[0] if call.params and isinstance(call.params[0], list) else ():
        members = dict(wanted)
        inner = wire.Call(str(members["methodName"]), tuple(members["params"]))
        answers.append([called(core, inner)])
    return answers


def _capabilities(core: Core, call: wire.Call) -> object:
    return {
        "facility": "xmlrpc-c",
        "version_major": 1,
        "version_minor": 33,
        "version_point": 14,
        "protocol_version": 2,
    }


# These need no session.
_SYSTEM = {
    "system.listMethods": _list_methods,
    "system.methodSignature": _signature,
    "system.methodHelp": _help,
    "system.multicall": _multicall,
    "system.capabilities": _capabilities,
}
