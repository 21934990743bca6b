"""Sessions, users and their tokens."""

from __future__ import annotations

import hashlib
import re
import secrets

from onesim import errors, objects, quotas, xml
from onesim.kernel import Core, Method, find, parsed
from onesim.model import Thing, Token, User
from onesim.rights import MANAGE, USE, may, need, need_admin

TOKENS = 10
_BAD_NAME = re.compile(r"[ :\t\n\r\v\f]")


def authenticated(core: Core, session: object) -> User | None:
    """Return the user of a session ``name:secret``; None: no such user, wrong secret, expired token, disabled ..."""
    if not isinstance(session, str) or ":" not in session:
        return None
    name, secret = session.split(":", 1)
    user = next((user for user in core.pools.users.values() if user.name == name), None)
    if user is None or not user.enabled or not secret:
        return None
    now = core.now()
    good = secrets.compare_digest(secret.encode(), user.password.encode()) or any(
        token.text == secret and (token.expires == -1 or token.expires > now) for token in user.tokens
    )
    return user if good else None


def new_user(core: Core, name: str, password: str, gid: int = 1) -> User:
    """Make a user and the TOKEN_PASSWORD that each has from the start."""
    user = User(core.number("user"), name, password=password, gid=gid, groups=[gid])
    user.uid, user.uname, user.gname = user.id, name, core.pools.groups[gid].name
    user.attrs.add("TOKEN_PASSWORD", secrets.token_hex(32))
    core.pools.users[user.id] = user
    return user


def allocate(core: Core, who: User, name: str, password: str, driver: str = "core", groups: object = None) -> int:
    need_admin(who, "CREATE", "USER")
    if found := _BAD_NAME.search(name):
        raise errors.internal(f"Invalid NAME, char '{found.group()}' is not allowed.")
    if not password:
        raise errors.internal("Invalid password, it cannot be empty.")
    taken = next((user.id for user in core.pools.users.values() if user.name == name), None)
    if taken is not None:
        raise errors.internal(f"NAME is already taken by USER {taken}.")
    user = new_user(core, name, password, _primary(core, groups))
    user.driver = driver or "core"
    return user.id


def _primary(core: Core, groups: object) -> int:
    wanted = [gid for gid in groups if isinstance(gid, int)] if isinstance(groups, list) else []
    return find(core.pools.groups, "group", wanted[0]).id if wanted else 1


def info(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    user = who if number == -1 else find(core.pools.users, "user", number)
    if user is not who:
        need(who, user, USE, "USER")
    return shown(core, user)


def shown(core: Core, user: User) -> str:
    return xml.element("USER", _body(user), quotas.shown(core, user), quotas.defaults())


def without_quotas(user: User) -> str:
    return xml.element("USER", _body(user))


def _body(user: User) -> str:
    return "".join(
        (
            xml.plains({"ID": user.id, "GID": user.gid}),
            xml.ids("GROUPS", user.groups),
            xml.plains({"GNAME": user.gname, "NAME": user.name}),
            xml.cdatas({"PASSWORD": hashlib.sha256(user.password.encode()).hexdigest(), "AUTH_DRIVER": user.driver}),
            xml.plain("ENABLED", int(user.enabled)),
            *map(_token, user.tokens),
            user.attrs.xml(),
        )
    )


def _token(token: Token) -> str:
    values = {"TOKEN": token.text, "EXPIRATION_TIME": token.expires, "EGID": token.egid}
    return xml.element("LOGIN_TOKEN", xml.plains(values))


def pool(core: Core, who: User) -> str:
    """Every user for administrators, oneself for others."""
    seen = [user for user in core.pools.users.values() if user is who or may(who, user, USE)]
    parts = []
    for user in sorted(seen, key=lambda user: -user.id):
        parts.append(without_quotas(user))
        parts.append(xml.element("QUOTAS", xml.plain("ID", user.id), quotas.shown(core, user)))
    return xml.element("USER_POOL", *parts, quotas.defaults())


def login(core: Core, who: User, name: str, text: str, seconds: int, egid: int = -1) -> str:
    """Make, renew or take back a login token."""
    user = next((user for user in core.pools.users.values() if user.name == name), None)
    if user is None:
        raise errors.missing("user", -1)
    if user is not who:
        need(who, user, MANAGE, "USER")
        raise errors.OneError(errors.RPC_API, "Cannot create a full token with a specific group token")
    if egid != -1 and egid not in user.groups:
        raise errors.OneError(errors.RPC_API, "EGID is not in user group list")
    if seconds == 0:
        return _taken_back(user, text)
    return _given(core, user, text, seconds, egid)


def _given(core: Core, user: User, text: str, seconds: int, egid: int) -> str:
    user.tokens = [token for token in user.tokens if token.expires == -1 or token.expires > core.now()]
    if len(user.tokens) >= TOKENS:
        raise errors.OneError(errors.RPC_API, "Max number of tokens limit reached.")
    text = text or secrets.token_hex(32)
    expires = -1 if seconds < 0 else core.now() + seconds
    user.tokens = [token for token in user.tokens if token.text != text]
    user.tokens.append(Token(text, expires, egid))
    return text


def _taken_back(user: User, text: str) -> str:
    if text and all(token.text != text for token in user.tokens):
        raise errors.OneError(errors.RPC_API, f"Could not find token: {text}")
    user.tokens = [token for token in user.tokens if text and token.text != text]
    return text


def passwd(core: Core, who: User, number: int, password: str) -> int:
    user = who if number == -1 else find(core.pools.users, "user", number)
    if user is not who:
        need(who, user, MANAGE, "USER")
    if not password:
        raise errors.internal("Invalid password, it cannot be empty.")
    user.password = password
    return user.id


def enable(core: Core, who: User, number: int, wanted: bool) -> int:
    user = find(core.pools.users, "user", number)
    need_admin(who, "ADMIN", "USER", number)
    user.enabled = wanted
    return user.id


def delete(core: Core, who: User, number: int) -> int:
    """Remove a user, even one who owns VMs, as the core does."""
    find(core.pools.users, "user", number)
    need_admin(who, "ADMIN", "USER", number)
    if number == 0:
        raise errors.wrong_action("Cannot delete user. oneadmin cannot be deleted.")
    del core.pools.users[number]
    return number


def set_quota(core: Core, who: User, number: int, text: str) -> int:
    user = who if number == -1 else find(core.pools.users, "user", number)
    need_admin(who, "ADMIN", "USER", user.id)
    quotas.set_limits(user, parsed(text, errors.ACTION))
    return user.id


def new_group(core: Core, who: User, name: str) -> int:
    need_admin(who, "CREATE", "GROUP")
    objects.need_free(core.pools.groups, "group", "GROUP", name)
    group = Thing(core.number("group", 100), name)
    core.pools.groups[group.id] = group
    return group.id


def add_group(core: Core, who: User, number: int, gid: int) -> int:
    user = find(core.pools.users, "user", number)
    find(core.pools.groups, "group", gid)
    need_admin(who, "MANAGE", "USER", number)
    if gid in user.groups:
        raise errors.internal("User is already in this group")
    user.groups.append(gid)
    return user.id


def leave_group(core: Core, who: User, number: int, gid: int) -> int:
    user = find(core.pools.users, "user", number)
    find(core.pools.groups, "group", gid)
    need_admin(who, "MANAGE", "USER", number)
    if gid == user.gid or gid not in user.groups:
        raise errors.internal("Cannot remove user from the primary group.")
    user.groups.remove(gid)
    return user.id


def change_group(core: Core, who: User, number: int, gid: int) -> int:
    user = find(core.pools.users, "user", number)
    group = find(core.pools.groups, "group", gid)
    need_admin(who, "MANAGE", "USER", number)
    user.groups = [other for other in user.groups if other not in (user.gid, gid)] + [gid]
    user.gid, user.gname = gid, group.name
    return user.id


def update(core: Core, who: User, number: int, text: str, append: int) -> int:
    user = who if number == -1 else find(core.pools.users, "user", number)
    need(who, user, MANAGE, "USER")
    objects.rewritten(user, parsed(text, errors.ACTION), append)
    return user.id


METHODS = {
    "one.user.allocate": Method("ss?sa", allocate),
    "one.user.info": Method("i?b", info),
    "one.user.login": Method("ssi?i", login),
    "one.user.passwd": Method("is", passwd),
    "one.user.enable": Method("ib", enable),
    "one.user.delete": Method("i", delete),
    "one.user.quota": Method("is", set_quota),
    "one.user.update": Method("isi", update),
    "one.user.addgroup": Method("ii", add_group),
    "one.user.delgroup": Method("ii", leave_group),
    "one.user.chgrp": Method("ii", change_group),
    "one.userpool.info": Method("", pool),
    "one.group.allocate": Method("s", new_group),
}
