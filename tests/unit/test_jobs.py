"""When a job has ended: for every kind what fulfils it, what makes it hopeless, and what is said at its deadline."""

from copy import deepcopy
from dataclasses import replace

import pytest

from builders import facts, following, fresh, job, primary, replica, sight, stopped, vm, working
from conpaassql.cluster import jobs
from conpaassql.cluster.facts import Facts, Refusal, Seen, Sight
from conpaassql.model import ClusterGoal, Durability, Goal, JobKind, JobState, VmState

ABSENT = Goal.ABSENT
STOPPED = ClusterGoal.STOPPED
failed_vm = sight(2, Seen.FAILED, vm=vm(2, VmState.FAILED, "out of memory"))

DONE: list[tuple[str, JobKind, tuple[int, ...], Facts]] = [
    ("all new nodes serve", JobKind.ADD_NODES, (1, 2), facts(primary(), replica(2))),
    (
        "all but one that was removed meanwhile",
        JobKind.ADD_NODES,
        (2, 3),
        facts(primary(), replica(2), fresh(3, ABSENT)),
    ),
    ("the node is gone", JobKind.REMOVE_NODES, (2,), facts(primary())),
    ("the target is open and all follow it", JobKind.SWITCHOVER, (1,), facts(primary(), replica(2), replica(3))),
    ("a silent replica is not waited for", JobKind.SWITCHOVER, (1,), facts(primary(), sight(2, Seen.SILENT))),
    ("the node follows closely", JobKind.FOLLOW, (2,), facts(primary(), replica(2))),
    ("all servers are stopped", JobKind.SHUTDOWN, (), facts(stopped(1), stopped(2), goal=STOPPED)),
    ("a VM that is off runs no server", JobKind.SHUTDOWN, (), facts(stopped(1), sight(2, Seen.OFF), goal=STOPPED)),
    ("all serve again", JobKind.STARTUP, (), facts(primary(), replica(2))),
    ("what is gone cannot be started", JobKind.STARTUP, (), facts(primary(), replica(2), sight(3, Seen.GONE))),
    ("no node is left", JobKind.DELETE_CLUSTER, (), facts()),
]

GOING_ON: list[tuple[str, JobKind, tuple[int, ...], Facts]] = [
    ("one is still empty", JobKind.ADD_NODES, (1, 2), facts(primary(), fresh(2))),
    (
        "one does not confirm yet",
        JobKind.ADD_NODES,
        (2,),
        facts(primary(), replica(2, acknowledging=False)),
    ),
    ("the node is still there", JobKind.REMOVE_NODES, (2,), facts(primary(), replica(2, goal=ABSENT))),
    ("the target is not primary", JobKind.SWITCHOVER, (2,), facts(primary(), replica(2))),
    ("the target is closed", JobKind.SWITCHOVER, (1,), facts(primary(read_only=True), replica(2))),
    ("one follows the old primary", JobKind.SWITCHOVER, (1,), facts(primary(), replica(2, source=3), replica(3))),
    (
        "the node lags",
        JobKind.FOLLOW,
        (2,),
        facts(primary(), replica(2, replica=following(1, lag_s=2.0))),
    ),
    ("one still runs", JobKind.SHUTDOWN, (), facts(stopped(1), replica(2), goal=STOPPED)),
    ("one cannot be seen", JobKind.SHUTDOWN, (), facts(stopped(1), sight(2, Seen.SILENT), goal=STOPPED)),
    ("the primary is closed", JobKind.STARTUP, (), facts(primary(read_only=True), replica(2))),
    ("nodes are left", JobKind.DELETE_CLUSTER, (), facts(primary(goal=ABSENT))),
]

HOPELESS: list[tuple[str, tuple[int, ...], Facts, str]] = [
    ("the cloud gave up", (2,), facts(primary(), failed_vm), "out of memory"),
    ("the cloud gave up without a word", (2,), facts(primary(), sight(2, Seen.FAILED)), "no reason"),
    ("all were removed meanwhile", (2,), facts(primary(), fresh(2, ABSENT)), "removed while"),
    ("all are gone already", (2,), facts(primary()), "removed while"),
]


@pytest.mark.parametrize(("name", "kind", "nodes", "look"), DONE, ids=[row[0] for row in DONE])
def test_done(name: str, kind: JobKind, nodes: tuple[int, ...], look: Facts) -> None:
    assert jobs.judge(job(kind, *nodes), look) == jobs.DONE
    assert jobs.judge(job(kind, *nodes, deadline_s=0), look) == jobs.DONE  # what holds at the deadline is done


@pytest.mark.parametrize(("name", "kind", "nodes", "look"), GOING_ON, ids=[row[0] for row in GOING_ON])
def test_going_on_and_overdue(name: str, kind: JobKind, nodes: tuple[int, ...], look: Facts) -> None:
    assert jobs.judge(job(kind, *nodes), look) is None
    verdict = jobs.judge(job(kind, *nodes, deadline_s=0), look)
    assert verdict is not None
    assert (verdict.state, verdict.code) == (JobState.FAILED, "unavailable")


@pytest.mark.parametrize(("name", "nodes", "look", "says"), HOPELESS, ids=[row[0] for row in HOPELESS])
def test_hopeless(name: str, nodes: tuple[int, ...], look: Facts, says: str) -> None:
    verdict = jobs.judge(job(JobKind.ADD_NODES, *nodes), look)
    assert verdict is not None
    assert (verdict.state, verdict.code) == (JobState.FAILED, "conflict" if says == "removed while" else "iaas")
    assert says in verdict.says


def test_what_the_cloud_refuses_for_good_is_not_asked_for_until_the_deadline() -> None:
    refusal = Refusal(code="iaas-quota", says="The limit of 3 VMs is reached.")
    verdict = jobs.judge(job(JobKind.ADD_NODES, 2), facts(primary(), sight(2, Seen.UNSEEN, refusal=refusal)))
    assert verdict is not None
    assert (verdict.state, verdict.code, verdict.says) == (JobState.FAILED, refusal.code, refusal.says)
    overtaken = sight(2, Seen.BOOTING, refusal=refusal)  # the answer was lost, and the next one was a refusal
    assert jobs.judge(job(JobKind.ADD_NODES, 2), facts(primary(), overtaken)) is None


def test_every_kind_has_rows() -> None:
    assert {row[1] for row in DONE} == {row[1] for row in GOING_ON} == set(JobKind)


def test_the_deadline_tells_what_the_cloud_says() -> None:
    pending = sight(2, Seen.BOOTING, vm=vm(2, VmState.PENDING, "Not enough CPU on hosts: 0,1"))
    verdict = jobs.judge(job(JobKind.ADD_NODES, 2, deadline_s=0), facts(primary(), pending))
    assert verdict is not None
    assert "node 2 is booting (Not enough CPU on hosts: 0,1)" in verdict.says


def test_the_deadline_tells_what_the_cloud_said_instead() -> None:
    """What may pass is asked for until the deadline; then the last word of the cloud is the reason."""
    full = Refusal(code="iaas-full", says="No address is left.", final=False)
    unseen = facts(primary(), sight(2, Seen.UNSEEN, refusal=full))
    assert jobs.judge(job(JobKind.ADD_NODES, 2), unseen) is None
    verdict = jobs.judge(job(JobKind.ADD_NODES, 2, deadline_s=0), unseen)
    assert verdict is not None
    assert "node 2 is unseen (No address is left)" in verdict.says
    locked = Refusal(code="iaas-busy", says="The VM is locked.", final=False)
    staying = replace(fresh(2, ABSENT), refusal=locked)
    verdict = jobs.judge(job(JobKind.REMOVE_NODES, 2, deadline_s=0), facts(primary(), staying))
    assert verdict is not None
    assert verdict.says.endswith("(The VM is locked).")


def test_a_running_job_says_what_it_waits_for() -> None:
    pending = sight(2, Seen.BOOTING, vm=vm(2, VmState.PENDING, "Not enough CPU on hosts: 0,1."))
    says = "node 2 is booting (Not enough CPU on hosts: 0,1)"
    look = facts(primary(), pending, replica(3))
    assert jobs.waits_for(job(JobKind.ADD_NODES, 2, 3), look) == says
    assert jobs.waits_for(job(JobKind.STARTUP), look) == says
    assert jobs.waits_for(job(JobKind.SHUTDOWN), look) == ""
    locked = Refusal(code="iaas-busy", says="The VM is locked.", final=False)
    going = facts(replace(sight(2, Seen.SILENT, ABSENT), refusal=locked), goal=ClusterGoal.ABSENT)
    assert jobs.waits_for(job(JobKind.DELETE_CLUSTER), going) == "node 2 is silent (The VM is locked)"
    assert jobs.waits_for(job(JobKind.REMOVE_NODES, 4), look) == ""


def test_the_deadline_names_who_is_waited_for() -> None:
    broken = replica(3, replica=following(1, applying=False, error="error 1062"))
    verdict = jobs.judge(job(JobKind.ADD_NODES, 2, 3, deadline_s=0), facts(primary(), sight(2, Seen.BOOTING), broken))
    assert verdict is not None
    assert "node 2 is booting;" in verdict.says
    assert "error 1062" in verdict.says


# One node on its way, stage by stage; "copied" bytes of 100.
STAGES: list[tuple[str, Sight, float]] = [
    ("wished", sight(2, Seen.UNSEEN), 0.0),
    ("booting", sight(2, Seen.BOOTING), 0.1),
    ("joined", fresh(2), 0.3),
    ("copying begins", working(2, "clone"), 0.3),
    ("copying", working(2, "clone", done_bytes=50, total_bytes=100), 0.6),
    ("more came than was announced", working(2, "clone", done_bytes=150, total_bytes=100), 0.9),
    ("attached", replica(2, acknowledging=False), 0.9),
    ("serves", replica(2), 1.0),
]


@pytest.mark.parametrize(("name", "node", "expected"), STAGES, ids=[row[0] for row in STAGES])
def test_progress_by_stage(name: str, node: Sight, expected: float) -> None:
    assert jobs.progress(job(JobKind.ADD_NODES, 2), facts(primary(), node)) == pytest.approx(expected)


def test_progress_never_goes_back() -> None:
    figures = [jobs.progress(job(JobKind.ADD_NODES, 1, 2), facts(primary(), node)) for _, node, _ in STAGES]
    assert figures == sorted(figures)
    assert figures[-1] == 1.0


def test_progress_of_other_kinds_is_not_known() -> None:
    assert jobs.progress(job(JobKind.SWITCHOVER, 2), facts(primary(), replica(2))) == 0.0


def test_without_confirmations_following_is_enough() -> None:
    look = facts(primary(waiting=False), replica(2, acknowledging=False), durability=Durability.ASYNC)
    assert jobs.judge(job(JobKind.ADD_NODES, 2), look) == jobs.DONE


def test_judging_changes_nothing() -> None:
    look = facts(primary(), replica(2))
    untouched = deepcopy(look)
    jobs.judge(job(JobKind.ADD_NODES, 2), look)
    assert look == untouched
