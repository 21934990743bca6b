"""Situations, moco-like: what is seen, what is wrong with it, what is done.  One row at least for every problem."""

from copy import deepcopy

import pytest

from builders import agent, facts, following, fresh, job, mysqld, primary, replica, sight, stopped, working
from conpaassql.cluster import steps
from conpaassql.cluster.diagnose import PROBLEMS, decide, diagnose
from conpaassql.cluster.facts import Facts, Seen
from conpaassql.cluster.steps import Step
from conpaassql.model import ClusterGoal, Durability, Goal, JobKind
from conpaassql.protocol import Data, Task, TaskState

Row = tuple[str, str, Facts, tuple[Step, ...]]

ABSENT = Goal.ABSENT
LAGGING = following(1, lag_s=5.0)
NOBODY = frozenset[int]()
closed = primary(read_only=True)
FAILED_VERIFY = Task(kind="verify", state=TaskState.FAILED)
switch = job(JobKind.SWITCHOVER, 2)

BEGINNING: list[Row] = [
    ("the first VM boots", "no-database", facts(sight(1, Seen.BOOTING), primary=None, initialised=False), ()),
    (
        "the first node is there",
        "no-database",
        facts(fresh(1), fresh(2), primary=None, initialised=False),
        (steps.NamePrimary(1, NOBODY),),
    ),
    (
        "the first two VMs have to be made",
        "no-database",
        facts(sight(1, Seen.UNSEEN), sight(2, Seen.UNSEEN), primary=None, initialised=False),
        (steps.CreateVm(1), steps.CreateVm(2)),
    ),
    (
        "data without a record: a person decides",
        "no-database",
        facts(replica(1, 9), fresh(2), primary=None, initialised=False),
        (),
    ),
    ("the first node is named", "first-database", facts(fresh(1), initialised=False), (steps.Initialise(1),)),
    (
        "the manager died before it noted the first database",
        "first-database",
        facts(closed, initialised=False),
        (steps.Initialise(1),),
    ),
    (
        "the first node is removed before it became one",
        "leaving",
        facts(sight(1, Seen.FAILED, ABSENT), fresh(2), initialised=False),
        (steps.ForgetPrimary(),),
    ),
    (
        "it is being deleted, and its last VM goes",
        "deleting",
        facts(sight(1, Seen.DELETING, ABSENT), goal=ClusterGoal.ABSENT, primary=None, initialised=False),
        (),
    ),
    ("the first database is closed", "primary-closed", facts(closed), (steps.OpenWrites(1),)),
]

TROUBLE: list[Row] = [
    (
        "a second node takes writes",
        "two-writers",
        facts(primary(), primary(2), replica(3)),
        (steps.CloseWrites(2),),
    ),
    (
        "two writers come before the wish to stop",
        "two-writers",
        facts(primary(), primary(2), goal=ClusterGoal.STOPPED),
        (steps.CloseWrites(2),),
    ),
    ("a replica's server is down", "servers-down", facts(primary(), stopped(2)), (steps.StartServer(2),)),
    ("the primary's server is down", "servers-down", facts(stopped(1), replica(2)), (steps.StartServer(1),)),
    ("the primary's disk is empty", "primary-empty", facts(fresh(1), replica(2)), ()),
    (
        "the primary's disk holds others' files",
        "primary-empty",
        facts(sight(1, agent=agent(1, data=Data.FOREIGN)), replica(2)),
        (),
    ),
    ("the primary is silent", "primary-lost", facts(sight(1, Seen.SILENT), replica(2)), ()),
    ("the primary's VM is gone", "primary-lost", facts(sight(1, Seen.GONE), replica(2)), ()),
    ("the primary's VM is off", "primary-lost", facts(sight(1, Seen.OFF), replica(2)), (steps.PowerOnVm(1),)),
    (
        "taken over: the one that writes is the primary",
        "primary-unknown",
        facts(primary(), replica(2), replica(3), primary=None),
        (steps.NamePrimary(1, frozenset({2, 3})),),
    ),
    (
        "taken over: nobody writes, one replicates from nobody",
        "primary-unknown",
        facts(closed, replica(2), primary=None),
        (steps.NamePrimary(1, frozenset({2})),),
    ),
    (
        "taken over: one has not been heard",
        "primary-unknown",
        facts(primary(), replica(2), sight(3, Seen.SILENT), primary=None),
        (),
    ),
    ("taken over: two might be it", "primary-unknown", facts(closed, replica(2, replica=None), primary=None), ()),
    (
        "taken over: a person chooses among two",
        "primary-unknown",
        facts(closed, replica(2, replica=None), primary=None, jobs=(job(JobKind.SWITCHOVER, 2),)),
        (steps.NamePrimary(2, frozenset({1})),),
    ),
    (
        "taken over: the choice would lose what another holds",
        "primary-unknown",
        facts(closed, replica(2, replica=None, executed="0-1-9"), primary=None, jobs=(job(JobKind.SWITCHOVER, 2),)),
        (),
    ),
    (
        "taken over: what a replica received counts",
        "primary-unknown",
        facts(closed, replica(2, replica=following(1, received="0-1-11")), primary=None),
        (),
    ),
    (
        "taken over: the agents know a newer term",
        "primary-unknown",
        facts(sight(1, agent=agent(1, mysqld(1), term=7)), primary=None),
        (steps.RaiseTerm(8),),
    ),
    (
        "taken over: servers are started first",
        "primary-unknown",
        facts(sight(1, agent=agent(1)), replica(2), primary=None),
        (steps.StartServer(1),),
    ),
    (
        "taken over: two writers are closed",
        "two-writers",
        facts(primary(), sight(2, agent=agent(2, mysqld(2, read_only=False))), primary=None),
        (steps.CloseWrites(1), steps.CloseWrites(2)),
    ),
    (
        "the store is an old copy",
        "store-behind",
        facts(sight(1, agent=agent(1, mysqld(1, read_only=False), term=7)), replica(2)),
        (),
    ),
    (
        "the primary was started again",
        "primary-closed",
        facts(closed, replica(2), replica(3, replica=None, acknowledging=False)),
        (steps.OpenWrites(1), steps.Follow(3)),
    ),
]

LEAVING: list[Row] = [
    ("the last copy leaves: stopped first", "leaving", facts(primary(goal=ABSENT)), (steps.StopServer(1),)),
    ("the last copy leaves", "leaving", facts(sight(1, goal=ABSENT, agent=agent(1))), (steps.ForgetPrimary(),)),
    (
        "the primary leaves, somebody stays",
        "switchover",
        facts(primary(goal=ABSENT), replica(2), replica(3)),
        (steps.CloseWrites(1),),
    ),
    (
        "the only node that confirms leaves",
        "acknowledgers",
        facts(primary(), replica(2, goal=ABSENT), acknowledgers=frozenset({2})),
        (steps.SetSemiSync(2, False, False), steps.SetSemiSync(1, False, False)),
    ),
    (
        "it confirms no longer",
        "acknowledgers",
        facts(primary(waiting=False), replica(2, goal=ABSENT, acknowledging=False), acknowledgers=frozenset({2})),
        (steps.DeleteVm(2), steps.NameAcknowledgers(NOBODY)),
    ),
    (
        "one that confirms leaves with a broken applier",
        "acknowledgers",
        facts(
            primary(),
            replica(2, goal=ABSENT, replica=following(1, applying=False)),
            replica(3),
            acknowledgers=frozenset({2, 3}),
        ),
        (steps.SetSemiSync(2, False, False),),
    ),
]

HANDING_OVER: list[Row] = [
    ("the target is ready", "switchover", facts(primary(), replica(2), jobs=(switch,)), (steps.CloseWrites(1),)),
    ("the target lags", "healthy", facts(primary(), replica(2, replica=LAGGING), jobs=(switch,)), ()),
    (
        "the target does not confirm yet",
        "acknowledgers",
        facts(primary(), replica(2, acknowledging=False), jobs=(switch,)),
        (steps.SetSemiSync(2, False, True),),
    ),
    (
        "closed, not yet equal",
        "switchover",
        facts(primary(read_only=True, executed="0-1-11"), replica(2), jobs=(switch,)),
        (steps.LookAgain(),),
    ),
    (
        "closed and equal",
        "switchover",
        facts(closed, replica(2), replica(3), jobs=(switch,)),
        (steps.NamePrimary(2, frozenset({1, 3})),),
    ),
    (
        "closed and equal, commits count at once",
        "switchover",
        facts(closed, replica(2), durability=Durability.ASYNC, jobs=(switch,)),
        (steps.NamePrimary(2, NOBODY),),
    ),
    (
        "closed, the target broke off",
        "switchover",
        facts(closed, replica(2, replica=following(1, receiving=False)), jobs=(switch,)),
        (steps.OpenWrites(1),),
    ),
    ("closed, the target is silent", "switchover", facts(closed, sight(2, Seen.SILENT), jobs=(switch,)), ()),
    (
        "closed, and the target is being removed",
        "primary-closed",
        facts(closed, replica(2, goal=ABSENT), jobs=(switch,)),
        (steps.OpenWrites(1),),
    ),
    ("the job has failed", "primary-closed", facts(closed, replica(2)), (steps.OpenWrites(1),)),
    (
        "the role has moved",
        "primary-closed",
        facts(closed, replica(2), replica(3), primary=2),
        (steps.OpenWrites(2), steps.Follow(1), steps.Follow(3)),
    ),
]

STOPPED = ClusterGoal.STOPPED
STOPPING: list[Row] = [
    ("the primary first", "stopped", facts(primary(), replica(2), goal=STOPPED), (steps.CloseWrites(1),)),
    (
        "closing would hang: nobody confirms",
        "stopped",
        facts(primary(acknowledgers=0), stopped(2), goal=STOPPED),
        (steps.StopServer(1),),
    ),
    (
        "then all servers",
        "stopped",
        facts(closed, replica(2), goal=STOPPED),
        (steps.StopServer(1), steps.StopServer(2)),
    ),
    ("all are stopped", "stopped", facts(stopped(1), stopped(2), goal=STOPPED), ()),
]

REPLICAS: list[Row] = [
    ("all is well", "healthy", facts(primary(), replica(2), replica(3)), ()),
    ("alone and well", "healthy", facts(primary(waiting=False)), ()),
    (
        "a new node is copied from the primary where there is no replica",
        "replica-empty",
        facts(primary(waiting=False), fresh(2), acknowledgers=NOBODY),
        (steps.Clone(2, 1),),
    ),
    (
        "a new node is copied from a replica",
        "replica-empty",
        facts(primary(), replica(2), fresh(3), acknowledgers=frozenset({2})),
        (steps.Clone(3, 2),),
    ),
    ("the copy is on its way", "healthy", facts(primary(), replica(2), working(3, "clone")), ()),
    (
        "a copied node is attached",
        "replica-detached",
        facts(primary(), replica(2), replica(3, replica=None, acknowledging=False)),
        (steps.Follow(3),),
    ),
    (
        "it has caught up: on record first",
        "acknowledgers",
        facts(primary(waiting=False), replica(2, acknowledging=False), acknowledgers=NOBODY),
        (steps.NameAcknowledgers(frozenset({2})),),
    ),
    (
        "then it confirms",
        "acknowledgers",
        facts(primary(waiting=False, acknowledgers=0), replica(2, acknowledging=False)),
        (steps.SetSemiSync(2, False, True),),
    ),
    (
        "then the primary waits",
        "acknowledgers",
        facts(primary(waiting=False), replica(2)),
        (steps.SetSemiSync(1, True, False),),
    ),
    (
        "a silent node stays on record",
        "replica-silent",
        facts(primary(), replica(2), sight(3, Seen.SILENT)),
        (),
    ),
    (
        "nobody is connected who could confirm",
        "writes-stalled",
        facts(primary(acknowledgers=0), sight(2, Seen.SILENT)),
        (),
    ),
    (
        "a node that holds more than the primary",
        "replica-errant",
        facts(primary(), replica(2, replica=None, executed="0-2-11")),
        (),
    ),
    (
        "an applier stopped on an error",
        "replica-broken",
        facts(primary(), replica(2, replica=following(1, applying=False, error="1062"))),
        (),
    ),
    (
        "it is tried again when asked for",
        "replica-detached",
        facts(
            primary(),
            replica(2, replica=following(1, applying=False, error="1062")),
            jobs=(job(JobKind.FOLLOW, 2),),
        ),
        (steps.Follow(2),),
    ),
    (
        "tables differ",
        "replica-different",
        facts(primary(), sight(2, agent=agent(2, replica(2).server, verified="different"))),
        (),
    ),
    (
        "a replica's VM is gone, and stays on the record until a person removes the node",
        "vm-gone",
        facts(primary(), replica(2), sight(3, Seen.GONE)),
        (),
    ),
    (
        "a replica's VM is gone",
        "vm-gone",
        facts(primary(), replica(2), sight(3, Seen.GONE), acknowledgers=frozenset({2})),
        (),
    ),
    (
        "a new replica is compared",
        "unverified",
        facts(primary(), sight(2, agent=agent(2, replica(2).server, verified=""))),
        (steps.Verify(2, 1),),
    ),
    (
        "a comparison that failed is not repeated",
        "healthy",
        facts(
            primary(),
            sight(2, agent=agent(2, replica(2).server, verified="", task=FAILED_VERIFY)),
        ),
        (),
    ),
]

ROWS = [*BEGINNING, *TROUBLE, *LEAVING, *HANDING_OVER, *STOPPING, *REPLICAS]


@pytest.mark.parametrize(("name", "code", "look", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_situation(name: str, code: str, look: Facts, expected: tuple[Step, ...]) -> None:
    untouched = deepcopy(look)
    assert diagnose(look)[0].code == code
    assert decide(look) == expected
    assert look == untouched


def test_every_problem_has_a_situation() -> None:
    assert {row[1] for row in ROWS} == {problem.code for problem in PROBLEMS}


def test_the_last_row_always_holds() -> None:
    assert PROBLEMS[-1].code == "healthy"
    assert PROBLEMS[-1].holds(facts(primary=None, initialised=False))


def test_a_problem_to_be_cured_alone_ends_the_list() -> None:
    look = facts(stopped(2), primary(), primary(3))
    assert decide(look) == (steps.CloseWrites(3),)


def test_problems_of_different_nodes_are_cured_together() -> None:
    look = facts(primary(), replica(2), fresh(3), replica(4, replica=None, acknowledging=False), stopped(5))
    assert set(decide(look)) == {steps.StartServer(5), steps.Clone(3, 2), steps.Follow(4)}


def test_the_server_of_a_node_that_is_not_wanted_is_not_started() -> None:
    assert decide(facts(primary(waiting=False), stopped(2, ABSENT))) == (steps.DeleteVm(2),)
