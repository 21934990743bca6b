"""What is wrong with a cluster and how it is cured: the predicates and cures of ``diagnose``'s table."""

from conpaassql import gtid
from conpaassql.cluster import steps
from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.cluster.steps import Step
from conpaassql.model import ClusterGoal, JobKind
from conpaassql.protocol import Data, Server, ServerFacts

# --- two writers


def stray_writers(facts: Facts) -> tuple[Sight, ...]:
    """Nodes that take writes without being on record for it.

    In a cluster that was taken over, with nobody on record, a single writer is the primary to be found.
    """
    writers = tuple(sight for sight in facts.others if sight.open)
    return () if primary_unknown(facts) and len(writers) == 1 else writers


def close_stray_writers(facts: Facts) -> tuple[Step, ...]:
    if primary_unknown(facts) and _highest_term(facts) > facts.cluster.term:
        return find_primary(facts)  # raises the term: with an older one nobody obeys
    return tuple(steps.CloseWrites(sight.id) for sight in stray_writers(facts))


# --- stopped by the user's wish


def stop(facts: Facts) -> tuple[Step, ...]:
    """Close the primary first, so that nobody is told of a commit that the replicas will not get.

    Commits that nobody can confirm would hold up the closing for ever; stopping ends them unanswered.
    """
    primary = facts.primary
    if primary and primary.server and primary.open:
        stuck = primary.server.waiting and not primary.server.acknowledgers
        return (steps.StopServer(primary.id) if stuck else steps.CloseWrites(primary.id),)
    return tuple(steps.StopServer(s.id) for s in facts.nodes if s.agent and s.agent.server is not Server.STOPPED)


# --- servers that should run


def down(facts: Facts) -> tuple[Sight, ...]:
    idle = (s for s in facts.wanted if s.agent and not s.working)  # a clone starts its server itself
    return tuple(s for s in idle if s.agent and s.data is Data.READY and s.agent.server is Server.STOPPED)


def start_servers(facts: Facts) -> tuple[Step, ...]:
    return tuple(steps.StartServer(sight.id) for sight in down(facts))


# --- the first node


def store_behind(facts: Facts) -> bool:
    """Agents know a newer term than the store that names a primary: the name may be wrong."""
    return facts.cluster.primary is not None and _highest_term(facts) > facts.cluster.term


def _highest_term(facts: Facts) -> int:
    return max((s.agent.term for s in facts.nodes if s.agent), default=0)


def primary_unknown(facts: Facts) -> bool:
    """There is a database, and no record of who its primary is: the nodes were taken over."""
    return facts.initialised and facts.cluster.primary is None and bool(facts.wanted)


def find_primary(facts: Facts) -> tuple[Step, ...]:
    """Name the primary when every node has been heard and the facts leave one choice.

    That is the one node that takes writes, else the one that replicates from nobody; it must hold
    all that the others hold.  A person may choose by asking for a switchover to a node.
    """
    if (highest := _highest_term(facts)) > facts.cluster.term:
        return (steps.RaiseTerm(highest + 1),)
    if any(s.agent is None or (s.data is not Data.EMPTY and s.server is None) for s in facts.wanted):
        return start_servers(facts)
    copies = [s for s in facts.wanted if s.server]
    chosen = _asked_for(facts, copies) or [s for s in copies if s.open] or [s for s in copies if not _replicates(s)]
    if len(chosen) != 1 or not all(_holds(chosen[0], other) for other in copies):
        return ()
    others = frozenset(s.id for s in facts.wanted if s.id != chosen[0].id)
    return (steps.NamePrimary(chosen[0].id, others if facts.lossless else frozenset()),)


def _asked_for(facts: Facts, copies: list[Sight]) -> list[Sight]:
    job = facts.job(JobKind.SWITCHOVER)
    return [s for s in copies if job and s.id in job.nodes]


def _replicates(sight: Sight) -> bool:
    return sight.server is not None and sight.server.replica is not None


def _holds(sight: Sight, other: Sight) -> bool:
    """Whether a node has executed all that another has executed or received."""
    if sight.server is None or other.server is None:
        return False
    replica = other.server.replica
    wanted = [other.server.executed, *([replica.received] if replica else [])]
    return all(gtid.contains(sight.server.executed, position) for position in wanted)


def _first_candidates(facts: Facts) -> tuple[Sight, ...]:
    return tuple(s for s in facts.wanted if s.data is Data.EMPTY)


def nothing_yet(facts: Facts) -> bool:
    """No primary is on record, there never was one, and the cluster is to stay."""
    going = facts.cluster.goal is ClusterGoal.ABSENT
    return facts.cluster.primary is None and not facts.initialised and not going


def name_first(facts: Facts) -> tuple[Step, ...]:
    if any(s.data not in (Data.EMPTY, None) for s in facts.wanted):
        return ()  # files that nobody knows of: a person decides
    return tuple(steps.NamePrimary(s.id, frozenset()) for s in _first_candidates(facts)[:1])


def initialise(facts: Facts) -> tuple[Step, ...]:
    first = facts.primary
    return (steps.Initialise(first.id),) if first and first.agent else ()


# --- the primary is in trouble: automatic failover has its place here


def primary_empty(facts: Facts) -> bool:
    return facts.primary is not None and facts.primary.data in (Data.EMPTY, Data.FOREIGN)


def primary_lost(facts: Facts) -> bool:
    return facts.initialised and (facts.primary is None or facts.primary.server is None)


def nothing(_facts: Facts) -> tuple[Step, ...]:
    return ()


# --- moving the primary's role


def target_of(facts: Facts) -> Sight | None:
    """Who shall become primary by the user's wish, or because the primary has to leave."""
    if job := facts.job(JobKind.SWITCHOVER):
        target = facts.by_id.get(job.nodes[0])
        return target if target and target.wanted and target.id != facts.cluster.primary else None
    primary = facts.primary
    return facts.heir if primary and not primary.wanted else None


def leaving_alone(facts: Facts) -> bool:
    """The last copy leaves, by force; or the node that leaves never became a copy."""
    primary = facts.primary
    return primary is not None and not primary.wanted and not (facts.wanted and facts.initialised)


def let_go(facts: Facts) -> tuple[Step, ...]:
    """Stop the last copy before the record forgets it, so that it is never a writer without a record."""
    primary = facts.primary
    if primary and primary.agent and primary.agent.server is not Server.STOPPED:
        return (steps.StopServer(primary.id),)
    return (steps.ForgetPrimary(),)


def handing_over(facts: Facts) -> bool:
    """Whether the role is to be moved, and can be now.

    Before writes are refused the target has to be ready: it follows closely, which keeps the pause
    short, and it confirms commits, without which running ones would hold up the closing.  Until
    then the other rows see to it.
    """
    primary, target = facts.primary, target_of(facts)
    return bool(primary and target and (not primary.open or facts.ready(target)))


def hand_over(facts: Facts) -> tuple[Step, ...]:
    """Move the role, one safe step per look: refuse writes, wait for equality, record the new primary.

    Until the record is written everything can be taken back: when the job that asked for it
    ends, ``primary-closed`` opens the old primary again.
    """
    primary, target = facts.primary, target_of(facts)
    if not primary or not target or not primary.server or not target.server:
        return ()
    if primary.open:
        return (steps.CloseWrites(primary.id),)
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


def open_primary(facts: Facts) -> tuple[Step, ...]:
    assert facts.primary
    return (steps.OpenWrites(facts.primary.id), *attach(facts))


# --- who confirms commits


def semi_sync(facts: Facts) -> tuple[Step, ...]:
    """Bring the record and the servers together; the record grows before, and shrinks after, the effect."""
    record = facts.cluster.acknowledgers
    joining = {s.id for s in facts.others if s.wanted and facts.lossless and facts.caught_up(s)}
    leaving = {i for i in record if _is_out(facts, i)}
    if (wished := frozenset(record | joining) - leaving) != record:
        return (steps.NameAcknowledgers(wished),)
    found: list[Step] = []
    for sight in facts.others:
        shall, does = sight.wanted and sight.id in record, facts.confirms(sight)
        if (does and not shall) or (shall and not does and facts.follows(sight)):
            found.append(steps.SetSemiSync(sight.id, wait=False, acknowledge=shall))
    primary = facts.primary
    if primary and primary.server and _wait_is_due(facts, primary.server):
        found.append(steps.SetSemiSync(primary.id, wait=_waits(facts), acknowledge=False))
    return tuple(found)


def _wait_is_due(facts: Facts, primary: ServerFacts) -> bool:
    """Whether the primary has to begin or to stop waiting.

    It begins when somebody is connected who confirms.  A commit that a replica received before
    it was told to confirm would hang until the next commit comes along.
    """
    return primary.waiting != _waits(facts) and (primary.waiting or primary.acknowledgers > 0)


def _is_out(facts: Facts, node: int) -> bool:
    """Whether a node on the record can confirm nothing any more.

    One that is merely silent may still confirm: it stays on the record.
    """
    sight = facts.by_id.get(node)
    if sight is None or node == facts.cluster.primary:
        return True
    if sight.seen in (Seen.GONE, Seen.UNSEEN, Seen.TAKEN):
        return not sight.wanted  # a copy that the user still counts on does not vanish from the promise
    shall_confirm = sight.wanted and facts.lossless
    return not shall_confirm and sight.server is not None and not facts.confirms(sight)


# --- replicas


def empty(facts: Facts) -> tuple[Sight, ...]:
    return tuple(s for s in facts.others if s.wanted and s.data is Data.EMPTY and s.address)


def copy(facts: Facts) -> tuple[Step, ...]:
    donor = facts.donor
    return tuple(steps.Clone(sight.id, donor.id) for sight in empty(facts)) if donor else ()


def detached(facts: Facts) -> tuple[Sight, ...]:
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


def attach(facts: Facts) -> tuple[Step, ...]:
    return tuple(steps.Follow(sight.id) for sight in detached(facts))


def errant(facts: Facts) -> bool:
    return any(s.server and not facts.follows(s) and facts.errant(s) for s in facts.others if s.wanted)


def _broken_by_sql(facts: Facts, sight: Sight) -> bool:
    """The applier stopped on an error while following the right source: repeating would not help."""
    replica = sight.server.replica if sight.server else None
    primary = facts.primary
    return bool(
        replica and primary and replica.source.host == primary.address and replica.error and not replica.applying
    )


def broken(facts: Facts) -> bool:
    return any(_broken_by_sql(facts, sight) for sight in facts.others)


def unverified(facts: Facts) -> tuple[Sight, ...]:
    return tuple(
        s
        for s in facts.others
        if s.agent and not s.agent.verified and facts.ready(s) and not s.working and s.failed_at != "verify"
    )


def verify(facts: Facts) -> tuple[Step, ...]:
    primary = facts.primary
    return tuple(steps.Verify(sight.id, primary.id) for sight in unverified(facts)) if primary else ()


def different(facts: Facts) -> bool:
    return any(sight.agent and sight.agent.verified == "different" for sight in facts.nodes)


def silent(facts: Facts) -> bool:
    """A replica cannot be reached: its VM is off, failed, being deleted, or its agent does not answer."""
    unreachable = (Seen.SILENT, Seen.OFF, Seen.FAILED, Seen.DELETING, Seen.TAKEN)
    return any(s.joined and s.seen in unreachable for s in facts.others if s.wanted)


def stalled(facts: Facts) -> bool:
    """Commits have to wait for a confirmation, and nobody is connected who could give it."""
    server = facts.primary.server if facts.primary else None
    return server is not None and not server.read_only and server.waiting and server.acknowledgers == 0


def gone(facts: Facts) -> bool:
    return any(sight.seen is Seen.GONE for sight in facts.wanted)
