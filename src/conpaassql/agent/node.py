"""What the verbs of an agent work with."""

from dataclasses import dataclass

from conpaassql.agent.layout import Layout
from conpaassql.agent.mysqld import Mysqld
from conpaassql.agent.state import StateFile
from conpaassql.agent.tasks import Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node seen from inside: its number, its disk, its server, its memory and its long work."""

    id: int
    layout: Layout
    mysqld: Mysqld
    state: StateFile
    tasks: Tasks
