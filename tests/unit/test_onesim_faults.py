"""Faults of the simulator: wished by name, for what fits, as often as was wished."""

from collections.abc import Callable, Mapping

import pytest
from onesim.faults import FaultError, Faults


def test_at_first_nothing_goes_wrong() -> None:
    faults = Faults()
    assert faults.delay_s("one.vm.info") == 0
    assert faults.pending("a") is None
    assert faults.boot_error("a") is None
    assert not faults.refuses_terminate()
    assert not faults.loses_reply("one.vm.allocate")
    assert not faults.shutdown_returns()


def test_a_slow_answer_is_that_of_methods_that_fit() -> None:
    faults = Faults()
    faults.change({"slow_s": 2, "slow_methods": "one.vm.*"})
    assert (faults.delay_s("one.vm.info"), faults.delay_s("one.vmpool.info")) == (2, 0)


def test_vms_are_chosen_by_their_names() -> None:
    faults = Faults()
    faults.change({"pending_forever": "node-[23]", "sched_message": "no", "boot_failure": "bad*", "boot_error": "why"})
    assert (faults.pending("node-2"), faults.pending("node-1")) == ("no", None)
    assert (faults.boot_error("bad-1"), faults.boot_error("good"), faults.boot_error("bad-1")) == ("why", None, "why")


COUNTED: list[tuple[Mapping[str, object], Callable[[Faults], bool]]] = [
    ({"refuse_terminate": 2}, lambda faults: faults.refuses_terminate()),
    ({"shutdown_returns_to_running": 2}, lambda faults: faults.shutdown_returns()),
    ({"lose_reply": "one.vm.a*", "lost_replies": 2}, lambda faults: faults.loses_reply("one.vm.allocate")),
    ({"boot_failure": "*", "boot_failures": 2}, lambda faults: faults.boot_error("a") is not None),
]


@pytest.mark.parametrize(("wish", "asked"), COUNTED)
def test_what_is_counted_ends(wish: Mapping[str, object], asked: Callable[[Faults], bool]) -> None:
    faults = Faults()
    faults.change(wish)
    assert [asked(faults) for _ in range(3)] == [True, True, False]


def test_what_does_not_fit_is_not_counted() -> None:
    faults = Faults()
    faults.change({"lose_reply": "one.vm.allocate", "boot_failure": "b", "boot_failures": 1})
    assert not faults.loses_reply("one.vm.info")
    assert faults.loses_reply("one.vm.allocate")
    assert faults.boot_error("a") is None
    assert faults.boot_error("b") is not None


def test_a_change_keeps_what_it_does_not_name() -> None:
    faults = Faults()
    faults.change({"slow_s": 1.5})
    shown = faults.change({"refuse_terminate": 1})
    assert (shown["slow_s"], shown["refuse_terminate"]) == (1.5, 1)
    assert faults.shown() == shown


@pytest.mark.parametrize(
    "wish", [{"nosuch": 1}, {"slow_s": "2"}, {"slow_s": True}, {"refuse_terminate": 1.5}, {"lose_reply": None}]
)
def test_what_is_no_fault_changes_nothing(wish: Mapping[str, object]) -> None:
    faults = Faults()
    with pytest.raises(FaultError):
        faults.change({"refuse_terminate": 1, **wish})
    assert not faults.refuses_terminate()
