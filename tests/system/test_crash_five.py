"""Five nodes are made by a manager that is killed at every step; none of their VMs is lost or made twice."""

import signal
from collections.abc import Callable

import pytest
from installation import Installation, eventually, on_each_provider
from test_crash import MORTAL, check_cloud, settled

pytestmark = [pytest.mark.real, on_each_provider]

Install = Callable[..., Installation]
MOST_LIVES = 200


def test_a_manager_that_never_survives_a_step_makes_five_nodes(install: Install) -> None:
    """It dies after, and now and then before, the first step that it takes, until there is none left to take."""
    home = install(network="127.50.0.0/18")
    home.call("add_nodes", count=5)
    home.stop(signal.SIGKILL)
    for life in range(MOST_LIVES):
        home.start(MORTAL, "before:any" if life % 3 == 2 else "after:any")
        eventually(lambda: has_died(home) or settled(home), says=f"life {life} ends, or all is done")
        if not has_died(home):
            break
        home.wait_dead()
    assert 10 < life < MOST_LIVES - 1
    assert home.cluster()["state"] == "RUNNING"
    assert home.job("add_nodes")["state"] == "done"
    check_cloud(home)


def has_died(home: Installation) -> bool:
    """Whether the manager has killed itself."""
    assert home.process is not None
    return home.process.poll() is not None
