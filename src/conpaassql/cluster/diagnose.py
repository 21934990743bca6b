"""What is wrong with a cluster, and what to do: one ordered table, most dangerous first.

``decide`` takes the first row that is to be cured alone; where none holds, the cures of all
other rows that hold go together, since each is about other nodes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from conpaassql import gtid
from conpaassql.cluster import lifecycle, steps
from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.cluster.steps import Step
from conpaassql.model import ClusterGoal, JobKind
from conpaassql.protocol import Data, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A situation with a stable code, a sentence for people, and a cure (empty: only a person can help)."""

    code: str
    says: str
    holds: Callable[[Facts], bool]
    cure: Callable[[Facts], tuple[Step, ...]]
    alone: bool = True


def decide(facts: Facts) -> tuple[Step, ...]:
    """Return the steps that the facts call for; none means that there is nothing to do but to look again."""
    together: list[Step] = list(lifecycle.next_steps(facts))
    for problem in diagnose(facts):
        if problem.alone:
            return (*together, *problem.cure(facts))
        together.extend(problem.cure(facts))
    return tuple(together)


def diagnose(facts: Facts) -> tuple[Problem, ...]:
    """Return every problem that holds, most dangerous first; the last row always holds."""
    return tuple(problem for problem in PROBLEMS if problem.holds(facts))


# --- two writers


def _stray_writers(facts: Facts) -> tuple[Sight, ...]:
    return tuple(sight for sight in facts.others if sight.open)


def _close_stray_writers(facts: Facts) -> tuple[Step, ...]:
    return tuple(steps.CloseWrites(sight.id) for sight in _stray_writers(facts))


# --- stopped by the user's wish


def _stop(facts: Facts) -> tuple[Step, ...]:
    """Close the primary first, so that nobody is told of a commit that the replicas will not get."""
    if facts.primary and facts.primary.open:
        return (steps.CloseWrites(facts.primary.id),)
    return tuple(steps.StopServer(s.id) for s in facts.nodes if s.agent and s.agent.server is not Server.STOPPED)


# --- servers that should run


def _down(facts: Facts) -> tuple[Sight, ...]:
    return tuple(
        s for s in facts.wanted if s.agent and s.data is Data.READY and s.agent.server is Server.STOPPED
    )


def _start_servers(facts: Facts) -> tuple[Step, ...]:
    return tuple(steps.StartServer(sight.id) for sight in _down(facts))


# --- the first node


def _first_candidates(facts: Facts) -> tuple[Sight, ...]:
    return tuple(s for s in facts.wanted if s.data is Data.EMPTY)


def _nothing_yet(facts: Facts) -> bool:
    """No primary is on record, and no reachable node holds data that one would have to know of."""
    return facts.cluster.primary is None and not facts.initialised


def _name_first(facts: Facts) -> tuple[Step, ...]:
    if any(s.data not in (Data.EMPTY, None) for s in facts.nodes):
        return ()  # data without a record: a person decides
    return tuple(steps.NamePrimary(s.id, frozenset()) for s in _first_candidates(facts)[:1])


def _initialise(facts: Facts) -> tuple[Step, ...]:
    first = facts.primary
    return (steps.Initialise(first.id),) if first and first.agent else ()


# --- the primary is in trouble: automatic failover has its place here


def _primary_empty(facts: Facts) -> bool:
    return facts.primary is not None and facts.primary.data in (Data.EMPTY, Data.FOREIGN)


def _primary_lost(facts: Facts) -> bool:
    return facts.primary is None or facts.primary.server is None


def _nothing(_facts: Facts) -> tuple[Step, ...]:
    return ()


# --- moving the primary's role


def _target(facts: Facts) -> Sight | None:
    """Who shall become primary by the user's wish, or because the primary has to leave."""
    if job := facts.job(JobKind.SWITCHOVER):
        target = facts.by_id.get(job.nodes[0])
        return target if target and target.id != facts.cluster.primary else None
    primary = facts.primary
    return facts.heir if primary and not primary.wanted else None


def _leaving_alone(facts: Facts) -> bool:
    """The last copy leaves, by force; or it never became one."""
    return facts.primary is not None and not facts.primary.wanted and not facts.wanted


def _hand_over(facts: Facts) -> tuple[Step, ...]:
    """Move the role, one safe step per look: refuse writes, wait for equality, record the new primary.

    Before writes are refused the target has to follow closely, which keeps the pause short.
    Until the record is written everything can be taken back: when the job that asked for it
    ends, ``primary-closed`` opens the old primary again.
    """
    primary, target = facts.primary, _target(facts)
    if not primary or not target or not primary.server or not target.server:
        return ()
    if primary.open:
        return (steps.CloseWrites(primary.id),) if facts.caught_up(target) else (steps.LookAgain(),)
    if not facts.follows(target):
        return (steps.OpenWrites(primary.id),)
    if not gtid.contains(target.server.executed, primary.server.executed):
        return (steps.LookAgain(),)
    heirs = frozenset(s.id for s in facts.nodes if s.wanted and s.id != target.id and s.server)
    return (steps.NamePrimary(target.id, heirs if facts.lossless else frozenset()),)


# --- a primary that has to be opened


def _waits(facts: Facts) -> bool:
    """Whether commits have to wait: somebody who stays may confirm them."""
    staying = {sight.id for sight in facts.wanted}
    return facts.lossless and bool(facts.cluster.acknowledgers & staying)


def _open_primary(facts: Facts) -> tuple[Step, ...]:
    assert facts.primary  # noqa: S101
    return (steps.OpenWrites(facts.primary.id), *_attach(facts))


# --- who confirms commits


def _semi_sync(facts: Facts) -> tuple[Step, ...]:
    """Bring the record and the servers together; the record grows before, and shrinks after, the effect."""
    record = facts.cluster.acknowledgers
    joining = {s.id for s in facts.others if s.wanted and facts.lossless and facts.caught_up(s)}
    leaving = {i for i in record if _is_out(facts, i)}
    if (wished := frozenset(record | joining) - leaving) != record:
        return (steps.NameAcknowledgers(wished),)
    found: list[Step] = []
    for sight in facts.others:
        confirms = sight.wanted and sight.id in record
        if sight.server and facts.follows(sight) and sight.server.acknowledging != confirms:
            found.append(steps.SetSemiSync(sight.id, wait=False, acknowledge=confirms))
    primary = facts.primary
    if primary and primary.server and primary.server.waiting != _waits(facts):
        found.append(steps.SetSemiSync(primary.id, wait=_waits(facts), acknowledge=False))
    return tuple(found)


def _is_out(facts: Facts, node: int) -> bool:
    """Whether a node on the record can confirm nothing any more.

    One that is merely silent may still confirm: it stays on the record.
    """
    sight = facts.by_id.get(node)
    if sight is None or sight.seen in (Seen.GONE, Seen.UNSEEN) or node == facts.cluster.primary:
        return True
    confirms = sight.wanted and facts.lossless
    return not confirms and sight.server is not None and not sight.server.acknowledging


# --- replicas


def _empty(facts: Facts) -> tuple[Sight, ...]:
    return tuple(s for s in facts.others if s.wanted and s.data is Data.EMPTY and s.address)


def _copy(facts: Facts) -> tuple[Step, ...]:
    donor = facts.donor
    return tuple(steps.Clone(sight.id, donor.id) for sight in _empty(facts)) if donor else ()


def _detached(facts: Facts) -> tuple[Sight, ...]:
    """Replicas that stand still or follow somebody else.

    One that stopped on an error is tried again only when a person asks for it.
    """
    return tuple(
        s
        for s in facts.others
        if s.wanted
        and s.server
        and not facts.follows(s)
        and not facts.errant(s)
        and (not _broken_by_sql(facts, s) or _asked_to_follow(facts, s))
    )


def _asked_to_follow(facts: Facts, sight: Sight) -> bool:
    job = facts.job(JobKind.FOLLOW)
    return job is not None and sight.id in job.nodes


def _attach(facts: Facts) -> tuple[Step, ...]:
    return tuple(steps.Follow(sight.id) for sight in _detached(facts))


def _errant(facts: Facts) -> bool:
    return any(s.server and not facts.follows(s) and facts.errant(s) for s in facts.others if s.wanted)


def _broken_by_sql(facts: Facts, sight: Sight) -> bool:
    """The applier stopped on an error while following the right source: repeating would not help."""
    replica = sight.server.replica if sight.server else None
    primary = facts.primary
    return bool(
        replica and primary and replica.source.host == primary.address and replica.error and not replica.applying
    )


def _broken(facts: Facts) -> bool:
    return any(_broken_by_sql(facts, sight) for sight in facts.others)


def _unverified(facts: Facts) -> tuple[Sight, ...]:
    return tuple(
        s
        for s in facts.others
        if s.agent and not s.agent.verified and facts.ready(s) and not s.working and s.failed_at != "verify"
    )


def _verify(facts: Facts) -> tuple[Step, ...]:
    primary = facts.primary
    return tuple(steps.Verify(sight.id, primary.id) for sight in _unverified(facts)) if primary else ()


def _different(facts: Facts) -> bool:
    return any(sight.agent and sight.agent.verified == "different" for sight in facts.nodes)


def _gone(facts: Facts) -> bool:
    return any(sight.seen is Seen.GONE for sight in facts.wanted)


PROBLEMS: tuple[Problem, ...] = (
    Problem(
        code="two-writers",
        says="A node other than the primary accepts writes; it is being closed.",
        holds=lambda f: bool(_stray_writers(f)),
        cure=_close_stray_writers,
    ),
    Problem(
        code="leaving",
        says="The last copy is being removed.",
        holds=_leaving_alone,
        cure=lambda _f: (steps.ForgetPrimary(),),
    ),
    Problem(
        code="stopped",
        says="The cluster is stopped by the user's wish.",
        holds=lambda f: f.cluster.goal is ClusterGoal.STOPPED,
        cure=_stop,
    ),
    Problem(
        code="servers-down",
        says="A database server is down and is being started.",
        holds=lambda f: bool(_down(f)),
        cure=_start_servers,
        alone=False,
    ),
    Problem(
        code="no-database",
        says="There is no database yet; the first node makes one.",
        holds=_nothing_yet,
        cure=_name_first,
    ),
    Problem(
        code="first-database",
        says="The first database is being made.",
        holds=lambda f: not f.initialised,
        cure=_initialise,
    ),
    Problem(
        code="primary-empty",
        says="The primary's data are gone or foreign.  Restore them, or remove the cluster; nothing is done by itself.",
        holds=_primary_empty,
        cure=_nothing,
    ),
    Problem(
        code="primary-lost",
        says="The primary does not answer.  Writes wait until it returns.",
        holds=_primary_lost,
        cure=_nothing,
    ),
    Problem(
        code="switchover",
        says="The primary's role is being moved to another node.",
        holds=lambda f: _target(f) is not None,
        cure=_hand_over,
    ),
    Problem(
        code="primary-closed",
        says="The primary refuses writes and is being opened.",
        holds=lambda f: f.primary is not None and not f.primary.open,
        cure=_open_primary,
    ),
    Problem(
        code="acknowledgers",
        says="The record of who confirms commits is being brought up to date.",
        holds=lambda f: bool(_semi_sync(f)),
        cure=_semi_sync,
        alone=False,
    ),
    Problem(
        code="replica-empty",
        says="A replica is being built.",
        holds=lambda f: bool(_empty(f)),
        cure=_copy,
        alone=False,
    ),
    Problem(
        code="replica-detached",
        says="A replica does not follow the primary and is being attached.",
        holds=lambda f: bool(_detached(f)),
        cure=_attach,
        alone=False,
    ),
    Problem(
        code="replica-errant",
        says="A replica holds transactions that the primary lacks.  Remove it and add another.",
        holds=_errant,
        cure=_nothing,
        alone=False,
    ),
    Problem(
        code="replica-broken",
        says="A replica stopped on an error; get_node_info shows it.  Remove it and add another.",
        holds=_broken,
        cure=_nothing,
        alone=False,
    ),
    Problem(
        code="replica-different",
        says="A replica's tables differ from the primary's.  Remove it and add another.",
        holds=_different,
        cure=_nothing,
        alone=False,
    ),
    Problem(
        code="vm-gone",
        says="The cloud has lost a node's VM.  Remove the node and add another.",
        holds=_gone,
        cure=_nothing,
        alone=False,
    ),
    Problem(
        code="unverified",
        says="A new replica is being compared with the primary.",
        holds=lambda f: bool(_unverified(f)),
        cure=_verify,
        alone=False,
    ),
    Problem(
        code="healthy",
        says="All is well.",
        holds=lambda _f: True,
        cure=_nothing,
        alone=False,
    ),
)
