"""What a recording does not say: how much time passes before an exchange, and what was done beside it.

The recording was made by a script that also waited, changed the dummy drivers, let guests die and removed its VMs.
Here is that script's other half, by the numbers of the exchanges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from onesim import actions, history, life, scheduler, states, users
from onesim.config import Config

from onesim_replay import Exchange, Replay

Act = Callable[[Replay], None]


@dataclass(frozen=True, kw_only=True)
class Story:
    """How a recording came about.

    Attributes:
        frozen: before these exchanges no time passes; before others, until nothing moves any more.
        seen: before these, until a VM is in a state.
        settled: vm.info before which everything comes to rest, although the VM's state is reached sooner.
        beside: what was done, without a recorded call, before some exchanges.
        afterwards: the same, after some exchanges.
    """

    config: Config
    frozen: frozenset[int] = frozenset()
    seen: Mapping[int, tuple[int, states.At]] = field(default_factory=dict)
    settled: frozenset[int] = frozenset()
    beside: tuple[tuple[frozenset[int], Act], ...] = ()
    afterwards: tuple[tuple[frozenset[int], Act], ...] = ()

    def before(self, replay: Replay, exchange: Exchange) -> None:
        """Bring the simulator to where the real core was when it was asked."""
        shown = None if exchange.number in self.settled else _shown(exchange)
        if exchange.number in self.seen:
            replay.seek(*self.seen[exchange.number])
        elif shown is not None:
            vm_id, at = shown
            replay.settle(lambda: vm_id in replay.core.pools.vms and replay.vm(vm_id).at == at)
        elif exchange.number not in self.frozen:
            replay.settle()
        for numbers, act in self.beside:
            if exchange.number in numbers:
                act(replay)

    def after(self, replay: Replay, exchange: Exchange) -> None:
        """Remove what the recording script removed without a recorded call."""
        for numbers, act in self.afterwards:
            if exchange.number in numbers:
                act(replay)


def _shown(exchange: Exchange) -> tuple[int, states.At] | None:
    """Return the VM and its state in a recorded vm.info."""
    text = exchange.response.decode(errors="replace")
    found = re.search(r"&lt;VM&gt;&lt;ID&gt;(\d+)&.*?STATE&gt;(\d+)&.*?LCM_STATE&gt;(\d+)&", text, re.DOTALL)
    if exchange.method != "one.vm.info" or found is None:
        return None
    return int(found[1]), states.At(int(found[2]), int(found[3]))


def _delete(*numbers: int) -> Act:
    return lambda replay: _gone(replay, numbers)


def _delete_last(replay: Replay) -> None:
    _gone(replay, [max(replay.core.pools.vms)])


def _gone(replay: Replay, numbers: Iterable[int]) -> None:
    for number in numbers:
        vm = replay.core.pools.vms.get(number)
        if vm is not None and vm.live:
            actions.recover(replay.core, replay.core.pools.users[0], number, 3)


def _deploy(number: int | None = None, host: int = 0) -> Act:
    """Deploy a VM, the newest if none is given, and wait until it stays where it is."""

    def act(replay: Replay) -> None:
        vm = replay.vm(max(replay.core.pools.vms) if number is None else number)
        scheduler.deploy(replay.core, vm, replay.core.pools.hosts[host], 100)
        replay.settle()

    return act


def _order(action: str, number: int) -> Act:
    """Do as if somebody else had ordered it."""

    def act(replay: Replay) -> None:
        replay.settle()
        replay.do(action, number)
        replay.settle()

    return act


def _put(number: int, at: states.At) -> Act:
    return lambda replay: life.stop_here(replay.vm(number), at)


def _guest_off(number: int) -> Act:
    return lambda replay: life.guest_off(replay.core, replay.vm(number))


def _found_running(replay: Replay) -> None:
    """A guest that was off is seen to run, and then not at all."""
    life.stop_here(replay.vm(141), states.UP)
    history.turn(replay.core, replay.vm(141))
    life.stop_here(replay.vm(141), states.LOST)


def _faults(**wished: object) -> Act:
    return lambda replay: replay.change(wished)


def _drivers(**values: object) -> Act:
    def act(replay: Replay) -> None:
        for name, value in values.items():
            setattr(replay.core, name, value)

    return act


def _later(seconds: float) -> Act:
    def act(replay: Replay) -> None:
        replay.clock.now += seconds

    return act


def _tokens(replay: Replay) -> None:
    """Bring a user's tokens to the limit."""
    user = replay.core.pools.users[2]
    while len([token for token in user.tokens if token.expires == -1 or token.expires > replay.core.now()]) < 10:
        users.login(replay.core, user, user.name, "", 100, -1)


def _many(replay: Replay) -> None:
    """The VMs 101 to 139, made at once."""
    for _ in range(101, 140):
        replay.allocate('NAME = "life"\nCPU = 0.2\nMEMORY = 256\nDISK = [ IMAGE_ID = 0 ]\nNIC = [ NETWORK_ID = 0 ]\n')


def _skip_ids(replay: Replay) -> None:
    replay.core.counts["vm"] = 163


_BESIDE: tuple[tuple[frozenset[int], Act], ...] = (
    (frozenset({318, 321, 324, 327, 330, 333, 340, 343, 348}), _deploy()),
    (frozenset({351}), _faults(boot_failure="*", boot_error="DEPLOY: dummy1:life:dummy")),
    (frozenset({358}), _faults(boot_failure="")),
    (frozenset({362, 363}), _faults(shutdown_returns_to_running=1)),
    (frozenset({370}), _drivers(prolog_error="Error executing image transfer script: cannot clone")),
    (frozenset({373}), _drivers(prolog_error="")),
    (frozenset({430}), _later(5)),
    (frozenset({438}), _tokens),
    (frozenset({466}), _delete(74, 76, 77)),
    (frozenset({517}), _delete(78, 79, 1)),
    (frozenset({522}), _order("poweroff", 82)),
    (frozenset({522}), _delete(81)),
    (frozenset({565}), _delete(84, 85)),
    (frozenset({737}), _delete(98, 99, 100)),
    (frozenset({741}), _many),
    (frozenset({742}), lambda replay: _gone(replay, range(98, 140))),
    (frozenset({743, 752, 754, 813, 824, 830}), _deploy()),
    (frozenset({748, 750}), _put(140, states.LOST)),
    (frozenset({749}), _guest_off(140)),
    (frozenset({752}), _guest_off(141)),
    (frozenset({754}), _found_running),
    (frozenset({756}), _put(141, states.At(states.SUSPENDED))),
    (frozenset({757}), _put(141, states.LOST)),
    (frozenset({761}), _drivers(copy_s=5.0)),
    (frozenset({766}), _drivers(copy_error="cannot copy")),
    (frozenset({773}), _drivers(copy_s=0.5, copy_error="")),
    (frozenset({812}), _skip_ids),
    (frozenset({813}), _drivers(live_resize=False)),
    (frozenset({823}), _delete(96)),
    (frozenset({830}), _drivers(live_resize=True)),
)
# Each one.vm.info of a VM whose CONTEXT was tried.
_CONTEXTS = frozenset(
    {183, 185, 188, 192, 196, 199, 201, 206, 208, 210, 213, 217, 221, 224, 226, 230, *range(236, 247, 2)}
    | {249, 251, 253, 256, *range(258, 281, 2)}
)
_AFTERWARDS: tuple[tuple[frozenset[int], Act], ...] = (
    (_CONTEXTS, _delete_last),
    (frozenset({283, 286, 289, 292, 295, 298, 305, 308, 315, 318, 321, 324, 327}), _delete_last),
    (frozenset({330, 333, 340, 343}), _delete_last),
    (frozenset({350}), _order("terminate-hard", 64)),
    (frozenset({603, 605, 609, 610, 612, 613, 616, 617, 620}), _delete_last),
    (frozenset({791}), _delete(*range(147, 154))),
)

# Numbers of the exchanges with a real core. The first failed allocate of a fresh core uses up VM number 0.
RECORDED = Story(
    config=Config(shared=False, first_vm_id=1),
    frozen=frozenset(
        {101, 104, 107, 108, 111, 137, 366, 367, 377, 391, 429, 517, 629, 762, 763, 767, 832},
    ),
    seen={106: (7, states.At(3, 1)), 365: (67, states.At(3, 2))},
    settled=frozenset({374, 777}),
    beside=_BESIDE,
    afterwards=_AFTERWARDS,
)
OWN = Story(config=Config(shared=False), frozen=frozenset({13, 14, 15}))
