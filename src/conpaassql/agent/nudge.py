"""Keeps commits from waiting for a confirmation that was passed over.

MariaDB 10.11: what a replica received before it was told to confirm is not confirmed when its
receiver starts again; it is covered by the confirmation of the next transaction.  Where no next
one comes, because all clients wait, the last commits would wait for ever (measured; an empty
transaction on the primary released them within 20 ms).
"""

import logging

from conpaassql.agent.node import Node
from conpaassql.errors import Error

log = logging.getLogger(__name__)

_PATIENCE_S = 2.0  # orders wait meanwhile
_NOTHING = "DROP TABLE IF EXISTS mysql.conpaassql_nudge"  # written to the binary log although there is no such table


class Nudge:
    """Looks at the waiting commits; the second look in a row that finds some acts."""

    def __init__(self) -> None:
        self._waited = False

    def look(self, node: Node) -> None:
        """Write an empty transaction when commits have waited since the last look though a replica could confirm.

        Only on a server that takes writes: a closed primary must not move on any more.  So nothing
        is looked at while an order is carried out, and no order begins between look and write.

        Raises:
            MysqlError: the server does not answer.
        """
        with node.state.if_idle() as free:
            if not free:
                return
            waiting = node.mysqld.pid() is not None and _waiting(node)
            if waiting and self._waited:
                log.info("commits wait although a replica could confirm them; an empty transaction is written")
                with node.mysqld.change(_PATIENCE_S) as session:
                    session.run(_NOTHING)
            self._waited = waiting


def _waiting(node: Node) -> bool:
    # Not information_schema.GLOBAL_STATUS: that hangs while a CREATE USER waits for a confirmation.
    with node.mysqld.session(_PATIENCE_S) as session:
        status = dict(session.rows("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_%'"))
        can = all(int(status[f"Rpl_semi_sync_master_{name}"]) for name in ("clients", "wait_sessions"))
        return can and not session.rows("SELECT @@GLOBAL.read_only")[0][0]


def look_quietly(nudge: Nudge, node: Node) -> None:
    """As ``Nudge.look``; a server that does not answer, or a full disk, is somebody else's business."""
    try:
        nudge.look(node)
    except Error as exc:
        log.debug("no look at waiting commits: %s", exc.says)
