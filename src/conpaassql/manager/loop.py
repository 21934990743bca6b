"""Per cluster: look, judge the jobs, decide, act, look again.

One scheduler thread hands clusters that are due to a few workers, of which each provider has its
own; a cluster is never with two of them at once, and never acted on without its lease.  Nothing
sleeps inside a decision: after a change the next look follows at once, otherwise the scheduler
waits on a condition until the next look is due or somebody wakes it.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeGuard

from conpaassql.cluster import jobs
from conpaassql.cluster.diagnose import decide, diagnose
from conpaassql.cluster.facts import SILENT_CLOUD, Facts, Seen, Sight
from conpaassql.cluster.steps import Forget, LookAgain, OfNode, Step
from conpaassql.errors import Error, NotFound
from conpaassql.manager import act, observe, undo, vms
from conpaassql.manager.context import Manager

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
WORKERS = 8
BUSY_PAUSE_S = 0.05  # between looks while something is under way that nobody announces
REPEAT_PAUSE_S = (0.02, 1.0)  # the same steps again and again: from, to

ORDER_WAIT_S = 0.5  # for the cloud's answer to an order, before the next look
ORDERS = frozenset(vms.PERFORMERS)  # the steps that ask something of the cloud

OnStep = Callable[[str, Step], None]
Done = Future[tuple[Step, Error] | None]  # a step, and what was wrong with it


class _Lane:
    """The threads for the clusters of one provider, so that a cloud which hangs keeps no others."""

    def __init__(self, provider: str) -> None:
        self.workers = ThreadPoolExecutor(WORKERS, thread_name_prefix=f"loop-{provider}")
        self.actors = ThreadPoolExecutor(2 * WORKERS, thread_name_prefix=f"act-{provider}")
        self.orders = ThreadPoolExecutor(2 * WORKERS, thread_name_prefix=f"order-{provider}")

    def close(self) -> None:
        """End after what is under way."""
        for pool in (self.workers, self.actors, self.orders):
            pool.shutdown(cancel_futures=True)


@dataclass(slots=True)
class _Turn:
    """Where the scheduler stands with one cluster.

    ``provider`` is empty until its record has been read.  ``orders`` are steps that the cloud has not answered yet.
    """

    provider: str = ""
    due_at: float = 0.0
    running: bool = False
    woken: bool = False
    last_steps: tuple[Step, ...] = ()
    repeats: int = 0
    renew_at: float = 0.0
    seen: tuple[Sight, ...] = ()
    changed_at: float = 0.0
    diagnosis: str = ""
    silence: str = ""
    told: dict[Step, str] = field(default_factory=dict)  # the failure of each step that has been written down
    orders: dict[Step, Done] = field(default_factory=dict)


class Loop:
    """``on_step`` is called with "before" and "after" around each step; tests end the process there."""

    def __init__(self, on_step: OnStep | None = None) -> None:
        self._on_step = on_step
        self._turns: dict[int, _Turn] = {}
        self._condition = threading.Condition()
        self._stopping = False
        self._lanes: dict[str, _Lane] = {}
        self._scheduler: threading.Thread | None = None
        self._holder = socket.gethostname()

    def start(self, manager: Manager) -> None:
        """Begin to look after every cluster on record."""
        with self._condition:
            self._turns = {cluster.id: _Turn() for cluster in manager.store.clusters.list()}
        self._scheduler = threading.Thread(target=self._schedule, args=(manager,), name="scheduler")
        self._scheduler.start()

    def wake(self, cluster_id: int) -> None:
        """Make a look at a cluster due now."""
        with self._condition:
            turn = self._turns.setdefault(cluster_id, _Turn())
            turn.woken = True
            turn.due_at = 0.0
            self._condition.notify()

    def stop(self) -> None:
        """End after the steps that are under way."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._scheduler:
            self._scheduler.join()
        for lane in self._lanes.values():
            lane.close()

    def _schedule(self, manager: Manager) -> None:
        with self._condition:
            while not self._stopping:
                now = time.monotonic()
                idle = [(turn.due_at, i) for i, turn in self._turns.items() if not turn.running]
                for _, cluster_id in (entry for entry in idle if entry[0] <= now):
                    self._turns[cluster_id].running = True
                    self._turns[cluster_id].woken = False
                    self._lane(self._turns[cluster_id].provider).workers.submit(self._take_turn, manager, cluster_id)
                later = [due_at for due_at, _ in idle if due_at > now]
                self._condition.wait(min(later) - now if later else None)

    def _lane(self, provider: str) -> _Lane:
        with self._condition:
            if provider not in self._lanes:
                self._lanes[provider] = _Lane(provider)
            return self._lanes[provider]

    def _take_turn(self, manager: Manager, cluster_id: int) -> None:
        turn = self._turns[cluster_id]
        pause_s = manager.settings.manager.poll_agents_timer
        gone = False
        try:
            pause_s = self._round(manager, cluster_id, turn)
        except NotFound:
            gone = True
        except Exception as exc:
            log.error("cluster %s: the round failed and is repeated", cluster_id, exc_info=exc)
        with self._condition:
            if gone:
                self._turns.pop(cluster_id, None)
            turn.running = False
            turn.due_at = 0.0 if turn.woken else time.monotonic() + pause_s
            self._condition.notify()

    def _round(self, manager: Manager, cluster_id: int, turn: _Turn) -> float:
        """Look once, act once, and return how long the next look may wait."""
        poll_s = manager.settings.manager.poll_agents_timer
        provider = manager.store.record(cluster_id).cluster.provider
        if provider != turn.provider:
            turn.provider = provider
            return 0.0  # at once, and by its own threads
        if not self._holds_lease(manager, cluster_id, turn):
            return poll_s
        began = time.monotonic()
        facts = observe.look(manager, cluster_id)
        settled = self._judge(manager, facts)
        if settled:
            facts = observe.look(manager, cluster_id)
        self._note_diagnosis(manager, facts, turn)
        found = decide(facts)
        self._perform(manager, facts, found, turn)
        busy = bool(facts.jobs) or any(s.working or s.seen is Seen.BOOTING for s in facts.nodes)
        if not busy:
            return _pause_s(turn, found, poll_s)
        if facts.nodes != turn.seen:
            turn.seen, turn.changed_at = facts.nodes, began
        return _pause_s(turn, found, _patience_s(began - turn.changed_at, time.monotonic() - began, poll_s))

    def _holds_lease(self, manager: Manager, cluster_id: int, turn: _Turn) -> bool:
        """Renew the lease when a third of it is over."""
        if time.monotonic() < turn.renew_at:
            return True
        asked_at = time.monotonic()
        if not manager.store.lease(cluster_id, self._holder, manager.now(), LEASE):
            return False
        turn.renew_at = asked_at + LEASE.total_seconds() / 3
        return True

    def _judge(self, manager: Manager, facts: Facts) -> bool:
        verdicts = [(job, jobs.judge(job, facts)) for job in facts.jobs]
        for job, verdict in verdicts:
            if verdict:
                undo.settle(manager, facts, job, verdict)
        return any(verdict for _, verdict in verdicts)

    def _note_diagnosis(self, manager: Manager, facts: Facts, turn: _Turn) -> None:
        """Write down what is wrong when that has changed; a silent cloud is wrong besides all else."""
        if facts.silence != turn.silence:
            turn.silence = facts.silence
            manager.event(facts.cluster.name, SILENT_CLOUD, facts.silence or "The cloud lists its VMs again.")
        worst = diagnose(facts)[0]
        if worst.code != turn.diagnosis:
            turn.diagnosis = worst.code
            manager.event(facts.cluster.name, worst.code, worst.says)

    def _perform(self, manager: Manager, facts: Facts, found: tuple[Step, ...], turn: _Turn) -> None:
        """Perform steps side by side; a failure is an event, once, and the next look decides anew.

        A cloud that is slow is not waited for, as a failover cannot wait for it: orders go on beside the next looks.
        """
        lane, due = self._lane(turn.provider), _due(found, turn.orders)
        acts = [lane.actors.submit(self._one, manager, facts, step) for step in due if type(step) not in ORDERS]
        orders = {step: lane.orders.submit(self._one, manager, facts, step) for step in due if type(step) in ORDERS}
        done = (*acts, *self._answered(facts.cluster.id, turn, orders))
        failures = [failure for future in done if (failure := future.result())]
        for step, error in failures:
            if turn.told.get(step) != error.says:
                turn.told[step] = error.says
                self._write_down(manager, facts, step, error)
        wished = {*found, *turn.orders}  # what is wished no more may fail anew, and is told again
        turn.told = {step: says for step, says in turn.told.items() if step in wished}

    def _write_down(self, manager: Manager, facts: Facts, step: Step, error: Error) -> None:
        log.warning("cluster %s: %s: %s", facts.cluster.name, step, error.says)
        node = step.node if isinstance(step, OfNode) else None
        says = f"{type(step).__name__} failed: {error.says}"
        manager.event(facts.cluster.name, f"step-failed-{error.code}", says, node)

    def _answered(self, cluster_id: int, turn: _Turn, new: Mapping[Step, Done]) -> list[Done]:
        """Give new orders a moment; return those that the cloud has answered, old and new."""
        wait(new.values(), ORDER_WAIT_S)
        turn.orders.update(new)
        for order in (order for order in new.values() if not order.done()):
            order.add_done_callback(lambda _: self.wake(cluster_id))
        return [turn.orders.pop(step) for step, order in [*turn.orders.items()] if order.done()]

    def _one(self, manager: Manager, facts: Facts, step: Step) -> tuple[Step, Error] | None:
        self._tell("before", step)
        try:
            act.perform(manager, facts, step)
        except Error as exc:
            return step, exc
        self._tell("after", step)
        if not step.quiet:
            node = step.node if isinstance(step, OfNode) else None
            manager.event(facts.cluster.name, type(step).__name__, type(step).__doc__ or "", node)
        return None

    def _tell(self, when: str, step: Step) -> None:
        if self._on_step:
            self._on_step(when, step)


def _due(found: Iterable[Step], orders: Collection[Step]) -> list[Step]:
    """Return the steps to begin now: an order is given once, and its VM gets no other before it is answered."""
    held = {order.node for order in orders if isinstance(order, OfNode)}
    return [step for step in found if step not in orders and not (_is_of_vm(step) and step.node in held)]


def _is_of_vm(step: Step) -> TypeGuard[OfNode]:
    return isinstance(step, OfNode) and type(step) in (*ORDERS, Forget)


def _patience_s(unchanged_s: float, look_s: float, poll_s: float) -> float:
    """How long to wait for what nobody announces: a tenth of the time for which nothing has moved.

    A look over very many nodes is dear: never spend more than a tenth of the time on looking.
    """
    return min(poll_s, max(BUSY_PAUSE_S, unchanged_s / 10, 10 * look_s))


def _pause_s(turn: _Turn, found: tuple[Step, ...], waiting_s: float) -> float:
    """None after a change; growing while the same steps have to be repeated; else ``waiting_s``."""
    if not found:
        turn.last_steps, turn.repeats = (), 0
        return waiting_s
    if found != turn.last_steps:
        turn.last_steps, turn.repeats = found, 0
        return 0.0
    turn.repeats += 1
    shortest, longest = REPEAT_PAUSE_S
    if all(isinstance(step, LookAgain) for step in found):
        return shortest / 4
    return float(min(longest, shortest * 2 ** min(turn.repeats, 10)))
