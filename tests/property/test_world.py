"""No order of wishes and faults loses an acknowledged write, and somebody serves whenever somebody could.

The last test plants mistakes: a property is finished when it has failed on purpose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conpaassql.cluster.diagnose import decide
from conpaassql.model import ClusterGoal, Durability
from world import Decide, Violation, World

PATIENCE = 150  # looks, of which a job's deadline takes 40

WISHES = ("add one", "add two", "remove", "remove by force", "switchover", "shutdown", "startup")
FAULTS = (
    "manager dies",
    "look misses",
    "cloud is silent",
    "server dies",
    "agent dies",
    "power fails",
    "vm fails",
    "opened by hand",
    "order is late",
)
# What makes the manager decide most comes more often.
LIFE = (*WISHES, *FAULTS, *("switchover",) * 4, "remove", "remove by force", "server dies", "look misses")


@dataclass(frozen=True)
class Event:
    """What happens, to whom (a number that chooses among the nodes), and how many rounds later comes the next."""

    what: str
    who: int
    rounds: int


@dataclass(frozen=True)
class Schedule:
    """A whole story; ``seed`` is the luck in it."""

    events: Sequence[Event]
    seed: int
    durability: Durability = Durability.LOSSLESS


def schedules(*kinds: str) -> st.SearchStrategy[Schedule]:
    event = st.builds(Event, st.sampled_from(kinds), st.integers(0, 9), st.integers(1, 5))
    durability = st.sampled_from([Durability.LOSSLESS, Durability.LOSSLESS, Durability.ASYNC])
    return st.builds(Schedule, st.lists(event, min_size=5, max_size=30), st.integers(0, 2**32), durability)


def happen(world: World, event: Event) -> None:
    """Let one event come true, where it can."""
    nodes = sorted(world.store.nodes) or [0]
    node = nodes[event.who % len(nodes)]
    machine = world.machines.get(node)
    trouble = world.trouble
    match event.what:
        case "add one" | "add two":
            world.add(1 if event.what == "add one" else 2)
        case "remove" | "remove by force":
            if len(nodes) > 1 or event.who == 0:  # an empty cluster teaches little
                world.remove(node, force=event.what == "remove by force")
        case "switchover":
            world.switch_over(node)
        case "shutdown":
            world.shut_down()
        case "startup":
            world.start_up()
        case "manager dies":
            trouble.dies_at = event.who
        case "look misses":
            trouble.missed.add(node)
        case "cloud is silent":
            trouble.cloud_silent = True
        case "order is late":
            trouble.late = node
        case "vm fails":
            world.doomed = True
        case "server dies" if machine:
            machine.kill_server()
        case "agent dies" if machine:
            machine.kill_agent()
        case "power fails" if machine:
            machine.power_off()
        case "disk is lost" if machine:
            machine.wipe()
        case "opened by hand" if machine and node != world.store.cluster.primary:
            machine.open_by_hand()


def run(decide: Decide, schedule: Schedule) -> World:
    """Play a story: three nodes first, then the events."""
    world = World(decide, schedule.seed, schedule.durability)
    world.add(3)
    for _ in range(12):
        world.round()
    for event in schedule.events:
        happen(world, event)
        for _ in range(event.rounds):
            world.round()
    return world


def settle(world: World) -> list[str]:
    """Let calm return; the complaints that are left in the end."""
    world.calm()
    complaints = _wait(world) if world.store.cluster.goal is ClusterGoal.STOPPED else []
    world.start_up()
    return complaints or _wait(world)


def _wait(world: World) -> list[str]:
    for _ in range(PATIENCE):
        world.round()
        if not world.complaints():
            return []
    return world.complaints()


def check(decide: Decide, schedule: Schedule) -> None:
    """Raise unless the story is safe throughout and ends well."""
    world = run(decide, schedule)
    if complaints := settle(world):
        raise Violation("; ".join(complaints))


common = settings(
    deadline=None, database=None, print_blob=False, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@settings(common, max_examples=60)
@given(schedules(*LIFE))
def test_safe_and_alive(schedule: Schedule) -> None:
    check(decide, schedule)
