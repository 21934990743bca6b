"""Keeps commits from waiting for a confirmation that was passed over.

MariaDB 10.11: what a replica received before it was told to confirm is not confirmed when its
receiver starts again; it is covered by the confirmation of the next transaction.  Where no next
one comes, because all clients wait, the last commits would wait for ever (measured; an empty
transaction on the primary released them within 20 ms).
"""

import logging

from conpaassql.agent.node import Node
from conpaassql.errors import MysqlError

log = logging.getLogger(__name__)

_NOTHING = "DROP TABLE IF EXISTS mysql.conpaassql_nudge"  # written to the binary log although there is no such table


class Nudge:
    """Looks at the waiting commits; the second look in a row that finds some acts."""

    def __init__(self) -> None:
        self._waited = False

    def look(self, node: Node) -> None:
        """Write an empty transaction when commits have waited since the last look though a replica could confirm.

        Only on a server that takes writes: a closed primary must not move on any more.

        Raises:
            MysqlError: the server does not answer.
        """
        if node.mysqld.pid() is None:
            self._waited = False
            return
        with node.mysqld.session(read_timeout_s=2.0) as session:
            rows = session.rows(
                "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN "
                "('RPL_SEMI_SYNC_MASTER_CLIENTS', 'RPL_SEMI_SYNC_MASTER_WAIT_SESSIONS')"
            )
            status = {name.upper(): int(value) for name, value in rows}
            waiting = all(status.values()) and not session.rows("SELECT @@GLOBAL.read_only")[0][0]
        if waiting and self._waited:
            log.info("commits wait although a replica could confirm them; an empty transaction is written")
            with node.mysqld.change(read_timeout_s=2.0) as session:
                session.run(_NOTHING)
        self._waited = waiting


def look_quietly(nudge: Nudge, node: Node) -> None:
    """As ``Nudge.look``; a server that does not answer is somebody else's business."""
    try:
        nudge.look(node)
    except MysqlError as exc:
        log.debug("no look at waiting commits: %s", exc.says)
