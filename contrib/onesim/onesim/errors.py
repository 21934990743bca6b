"""How the core says no: error arrays with a code, and XML-RPC faults.

An error array is an answer like any other (``[false, text, code, id, index]``); a fault is XML-RPC's own and is only
used where the call itself is wrong.  Every sentence in this package that is given to these two classes is a sentence
of the real core.
"""

from __future__ import annotations

AUTHENTICATION = 0x0100
AUTHORIZATION = 0x0200
NO_EXISTS = 0x0400
ACTION = 0x0800
RPC_API = 0x1000
INTERNAL = 0x2000
ALLOCATE = 0x4000

NOT_DEFINED = -506
BAD_XML = -503
BAD_PARAMETER = -501
NOT_COMPLETED = -500


class OneError(Exception):
    """The core refuses a call.

    Args:
        code: one of the numbers above.
        text: the sentence without the ``[one.vm.info] `` in front, which the dispatcher adds.
        object_id: what the core puts behind the code; -1 for most errors.
    """

    def __init__(self, code: int, text: str, object_id: int = -1) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.object_id = object_id


class Fault(Exception):
    """An XML-RPC fault: the call was not understood."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def missing(kind: str, object_id: int) -> OneError:
    """Return "Error getting <kind> [<id>]."; a negative id reads "<kind> Pool" as in the core."""
    where = "Pool" if object_id < 0 else f"[{object_id}]"
    return OneError(NO_EXISTS, f"Error getting {kind} {where}.", object_id)


def refused(user_id: int, right: str, kind: str, object_id: int) -> OneError:
    """Return the answer to somebody without the right ``USE``, ``MANAGE`` or ``ADMIN``."""
    return OneError(AUTHORIZATION, f"User [{user_id}] : Not authorized to perform {right} {kind} [{object_id}].")


def internal(text: str) -> OneError:
    return OneError(INTERNAL, text)


def wrong_action(text: str) -> OneError:
    return OneError(ACTION, text)
