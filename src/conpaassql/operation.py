"""One thing that can be asked of the manager: its name, its spellings, its parameters and its effect."""

from dataclasses import dataclass
from enum import StrEnum

from conpaassql.params import Param


class Effect(StrEnum):
    """What an operation does to the world, which is what a face may let through where."""

    LOOK = "look"  # from memory: answered at once, changes nothing
    READ = "read"  # from the store or an agent: may take a moment, changes nothing
    CHANGE = "change"
    DOWNLOAD = "download"  # changes nothing, answers with a stream
    UPLOAD = "upload"  # a change that comes with a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that users can ask for.

    ``spellings`` are other names of the method, ``ignored`` parameters that old clients send and
    that mean nothing (those that name a node still have to be ids).  ``files`` are the names of the
    form field that carries an upload.
    """

    name: str
    says: str
    effect: Effect
    params: tuple[Param, ...] = ()
    spellings: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the world is another afterwards."""
        return self.effect in (Effect.CHANGE, Effect.UPLOAD)
