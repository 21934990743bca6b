"""Locks on open files (flock(2)) that are waited for with a deadline.

Such a lock belongs to the open file, so a child that has inherited it keeps it, and it ends with
the last process that has the file open.
"""

import fcntl
import time


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file unless somebody else has it locked; say whether it worked."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def await_lock(descriptor: int, timeout_s: float, *, shared: bool = False) -> bool:
    """Lock an open file as soon as nobody else has it locked; False: ``timeout_s`` passed first."""
    deadline = time.monotonic() + timeout_s
    while not try_lock(descriptor, shared=shared):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)  # flock itself can wait, but not with a deadline
    return True
