"""Makes wishes about machines come true: one worker per provider, so that a cloud that hangs keeps only its own.

A worker lists the cloud's VMs, gives every running job of its provider a turn, and looks again.
What passes is tried again for a while, what does not fails the job, and a failed job that has
begun to make things undoes them.  All that a worker knows by heart may be lost: the next one
starts from the store and the cloud.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import msgspec

from conpaassql import httpd
from conpaassql.errors import ConfigError, Error, IaasBusy, IaasError, Unavailable
from conpaassql.manager import endings, turns
from conpaassql.manager.context import Manager
from conpaassql.manager.provider import Provider
from conpaassql.manager.turns import End, Vms
from conpaassql.model import Flavor, JobState, VmState
from conpaassql.model_cloud import MachineJob, MachineJobKind, Order, Phase, vm_name

log = logging.getLogger(__name__)

PATIENCE_S = 20.0  # for what may pass: a cloud that does not answer, or is full
PAUSE_S = (0.05, 2.0)  # between looks: from, to
STOP_WITHIN_S = 5.0
SETTLE_S = 5.0  # how late a cloud may list what it was asked for
WAITING_AT_ONCE = 16  # calls that wait for a job; each has a thread of the web server

WAIT_S = 30.0

OnChange = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the cloud was asked to make.  ``answered``: it said that it did."""

    at: float
    answered: bool = False


@dataclass(slots=True)
class _Course:
    """What a worker knows by heart of one job."""

    moved_at: float  # when something changed last
    troubled_at: float | None = None  # since when it fails
    pause_s: float = PAUSE_S[0]
    trouble: str = ""
    progress: float = 0.0
    said: set[str] = field(default_factory=set)
    asked: dict[str, _Asked] = field(default_factory=dict)  # by name, until the cloud lists it


class Provision:
    """All workers.

    ``on_change`` is called with "before" and "after" around each change of the cloud and of the store;
    tests end the process there.  ``wait_s`` bounds how long a call waits for its job.
    """

    def __init__(
        self,
        on_change: OnChange | None = None,
        *,
        patience_s: float = PATIENCE_S,
        settle_s: float = SETTLE_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._on_change = on_change
        self.settle_s = settle_s
        self._patience_s = patience_s
        self._wait_s = wait_s
        self._condition = threading.Condition()
        self._manager: Manager | None = None
        self._stopping = False
        self._workers: dict[str, threading.Thread] = {}
        self._woken: set[str] = set()
        self._courses: dict[int, _Course] = {}
        self._ended: dict[int, threading.Event] = {}
        self._places = threading.BoundedSemaphore(WAITING_AT_ONCE)

    def start(self, manager: Manager) -> None:
        """Go on with every job that a former life of this manager left."""
        with self._condition:
            self._manager = manager
        for provider in manager.store.machine_jobs.busy():
            self.wake(provider)

    def wake(self, provider: str) -> None:
        """See to a provider's jobs now."""
        with self._condition:
            self._woken.add(provider)
            if self._manager is not None and provider not in self._workers and not self._stopping:
                arguments = (self._manager, provider)
                # A worker may hang in a call to its cloud; it must not keep the process from ending.
                worker = threading.Thread(target=self._work, args=arguments, name=f"cloud-{provider}", daemon=True)
                self._workers[provider] = worker
                worker.start()
            self._condition.notify_all()

    def stop(self) -> None:
        """End after what is under way, but do not wait for a cloud that hangs."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            workers = list(self._workers.values())
        for event in list(self._ended.values()):
            event.set()
        deadline = time.monotonic() + STOP_WITHIN_S
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def wait(self, job: int) -> None:
        """Return when the job has ended, after ``wait_s``, or at once when very many wait already."""
        if self._manager is None or not self._places.acquire(blocking=False):
            return
        try:
            with self._condition:
                ended = self._ended.setdefault(job, threading.Event())
            found = self._manager.store.machine_jobs.find(job)
            if found is not None and found.state is JobState.RUNNING and not self._stopping:
                ended.wait(self._wait_s)
        finally:
            self._ended.pop(job, None)
            self._places.release()

    def progress(self, job: int) -> float:
        """Return how far a running job is, from 0 to 1."""
        course = self._courses.get(job)
        return course.progress if course else 0.0

    def trouble(self, job: int) -> str:
        """Return what keeps a running job at the moment; empty: nothing."""
        course = self._courses.get(job)
        return course.trouble if course else ""

    def _work(self, manager: Manager, provider: str) -> None:
        while True:
            with self._condition:
                self._woken.discard(provider)
            found = httpd.attempt(lambda: self.round(manager, provider))
            pause_s = PAUSE_S[1] if isinstance(found, Error) else found
            if isinstance(found, Error):
                log.error("provider %s: the round failed and is repeated: %s", provider, found.says)
            with self._condition:
                if self._stopping or (pause_s is None and provider not in self._woken):
                    del self._workers[provider]
                    return
                if provider not in self._woken:
                    self._condition.wait_for(lambda: self._stopping or provider in self._woken, pause_s)

    def round(self, manager: Manager, name: str) -> float | None:
        """Give each running job of a provider a turn; return how long the next round may wait, None: for ever."""
        jobs = manager.store.machine_jobs.list(name, running=True)
        if not jobs:
            return None
        began = time.monotonic()
        looked = httpd.attempt(lambda: _look(manager, name))
        look_s = time.monotonic() - began
        pauses = [self._advance(manager, job, looked, look_s) for job in jobs]
        return min(pauses)

    def _advance(self, manager: Manager, job: MachineJob, looked: "_Look | Error", look_s: float) -> float:
        course = self._courses.setdefault(job.id, _course(job))
        found = looked if isinstance(looked, Error) else httpd.attempt(lambda: self._turn(manager, job, course, looked))
        vms = None if isinstance(looked, Error) else looked.vms
        if isinstance(found, End):
            self._end(manager, job, found)
            return 0.0
        if found is None and manager.now() >= job.deadline_at:
            found = endings.late(job, vms or {})
        if found is None:
            course.troubled_at, course.trouble, course.pause_s = None, "", PAUSE_S[0]
            waited_s = time.monotonic() - course.moved_at
            return min(PAUSE_S[1], max(PAUSE_S[0], waited_s / 10, 10 * look_s)) if waited_s > PAUSE_S[0] else 0.0
        return self._failed(manager, job, course, found, vms)

    def _turn(self, manager: Manager, job: MachineJob, course: _Course, looked: "_Look") -> End | None:
        work = _Work(provision=self, manager=manager, job=job, course=course, provider=looked.provider)
        for name in looked.vms.keys() & course.asked.keys():
            del course.asked[name]
        order = _order(manager, job) if job.phase is Phase.UNDOING else read_order(manager, job)
        if job.kind is MachineJobKind.CREATE and job.phase is Phase.DOING:
            running = [vm_name(uuid) for uuid in job.machines if _runs(looked.vms, vm_name(uuid))]
            course.progress = len(running) / len(job.machines)
        turn = turns.UNDOINGS[job.kind] if job.phase is Phase.UNDOING else turns.TURNS[job.kind]
        return turn(work, job, order, looked.vms)

    def _failed(self, manager: Manager, job: MachineJob, course: _Course, why: Error, vms: Vms | None) -> float:
        """Try again what may pass; else undo the job, or end it."""
        now = time.monotonic()
        course.troubled_at = course.troubled_at if course.troubled_at is not None else now
        course.trouble = why.says
        late, patient = manager.now() >= job.deadline_at, now - course.troubled_at < self._patience_s
        undoing = job.phase is Phase.UNDOING
        # What is busy, such as a VM that boots and cannot be removed, passes by itself, be it in minutes.
        waits = patient or undoing or isinstance(why, IaasBusy) if why.retry else patient and undoing
        if waits and not late:
            course.pause_s = min(PAUSE_S[1], 2 * course.pause_s)
            return course.pause_s
        log.warning("provider %s, job %d: %s", job.provider, job.id, why.says)
        if job.phase is Phase.DOING and job.kind in turns.UNDOINGS:
            self._undo(manager, job, why)
            course.troubled_at, course.moved_at = None, now
        else:
            self._end(manager, job, endings.given_up(job, _order(manager, job), why, vms))
        return 0.0

    def _undo(self, manager: Manager, job: MachineJob, why: Error) -> None:
        deadline_at = manager.now() + timedelta(seconds=manager.settings.manager.remove_nodes_deadline_s)
        with self._step("store undoing"), manager.store.transaction():
            manager.store.machine_jobs.change(
                job.id, phase=Phase.UNDOING, code=why.code, says=why.says, deadline_at=deadline_at
            )
            says = f"Job {job.id} failed and is being undone: {why.says}"
            manager.provider_event(job.provider, "undo", says, actor="manager")

    def _end(self, manager: Manager, job: MachineJob, end: End) -> None:
        """Write down how a job ended and what that means for its machines."""
        ended = replace(
            job,
            state=end.state,
            code=end.code,
            says=end.says,
            ended_at=manager.now(),
            result=end.result,
            leftovers=end.leftovers,
        )
        with self._step("store end"), manager.store.transaction():
            manager.store.machine_jobs.end(ended)
            endings.settle(manager, ended)
            says = f"Job {job.id}: {end.says or f'{job.kind} is done.'}"
            manager.provider_event(job.provider, f"job-{end.state}", says, actor="manager")
            if end.leftovers:
                left = f"These may still be at the provider: {', '.join(end.leftovers)}."
                manager.provider_event(job.provider, "leftovers", left, actor="manager")
        self._courses.pop(job.id, None)
        if event := self._ended.get(job.id):
            event.set()

    def act(self, work: "_Work", code: str, says: str, change: Callable[[], object]) -> None:
        """Do one change of the cloud, and write it down."""
        if self._stopping:
            raise Unavailable("The manager is stopping; it goes on with this at its next start.")
        try:
            with self._step(says):
                change()
        finally:
            work.provider.forget()
        work.course.moved_at = time.monotonic()
        if says not in work.course.said:
            work.course.said.add(says)
            work.manager.provider_event(work.job.provider, code, says, actor="manager")

    def ask(self, work: "_Work", name: str, code: str, says: str, change: Callable[[], object]) -> None:
        """As ``act``, remembering what may be listed late; see ``turns.Work``."""
        asked, before = work.course.asked, work.course.asked.get(name)
        if before and before.answered and time.monotonic() - before.at < self.settle_s:
            return
        asked[name] = begun = _Asked(time.monotonic())

        def make() -> None:
            change()
            asked[name] = _Asked(time.monotonic(), answered=True)

        try:
            self.act(work, code, says, make)
        except Error as exc:
            if asked[name] is begun and not _perhaps_done(exc):
                del asked[name]
                asked.update({name: before} if before else {})  # a former call may have done it
            raise

    def _step(self, name: str) -> "_Step":
        return _Step(self._on_change, name)


@dataclass(frozen=True, slots=True)
class _Step:
    """Tells who watches when a change begins and when it is done."""

    on_change: OnChange | None
    name: str

    def __enter__(self) -> None:
        if self.on_change:
            self.on_change("before", self.name)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.on_change and kind is None:
            self.on_change("after", self.name)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a provider: what all jobs of a round go by."""

    provider: Provider
    vms: Vms


def _course(job: MachineJob) -> _Course:
    """Return the course of a job that this worker did not know; a former one may have asked for all of it just now."""
    now = time.monotonic()
    begun = job.kind in turns.UNDOINGS and job.phase is not Phase.CHOOSING
    return _Course(moved_at=now, asked={name: _Asked(now) for name in turns.names(job)} if begun else {})


def _perhaps_done(why: Error) -> bool:
    """Whether the cloud may have done what it was asked for: as the driver says, else when it failed without a word."""
    lost = why.details.get("lost")
    return type(why) is IaasError if lost is None else bool(lost)


def _look(manager: Manager, name: str) -> _Look:
    provider = manager.providers.get(name)
    return _Look(provider, {vm.name: vm for vm in provider.driver.list()})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a turn may use; see ``turns.Work``."""

    provision: Provision
    manager: Manager
    job: MachineJob
    course: _Course
    provider: Provider

    @property
    def owner(self) -> str:
        return self.manager.settings.manager.name

    @property
    def base(self) -> Flavor:
        return self.manager.settings.template.flavor

    def act(self, code: str, says: str, change: Callable[[], object]) -> None:
        self.provision.act(self, code, says, change)

    def ask(self, name: str, code: str, says: str, change: Callable[[], object]) -> None:
        self.provision.ask(self, name, code, says, change)

    def begin(self, job: MachineJob, order: Order) -> None:
        with self.provision._step("store doing"):
            sealed = seal_order(self.manager, job.group, order)
            self.manager.store.machine_jobs.change(job.id, phase=Phase.DOING, sealed=sealed)
        self.course.moved_at = time.monotonic()

    def settled(self) -> bool:
        oldest = time.monotonic() - self.provision.settle_s
        return all(asked.at <= oldest for asked in self.course.asked.values())

    def recorded(self, uuid: str) -> bool:
        return self.manager.store.machines.find(uuid) is not None


def seal_order(manager: Manager, group: str, order: Order) -> bytes:
    """Return what the store keeps of an order."""
    return manager.vault.seal(msgspec.json.encode(order), f"job {group}")


def read_order(manager: Manager, job: MachineJob) -> Order:
    """Return the order of a running job.

    Raises:
        ConfigError: it does not open with this manager's key, or is of another version of this program.
    """
    try:
        return msgspec.json.decode(manager.vault.open(job.sealed, f"job {job.group}"), type=Order)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"The order of job {job.id} is not what this version wrote; ask for it anew.") from exc


def _order(manager: Manager, job: MachineJob) -> Order:
    """As ``read_order``, for undoing, which goes by the group: with the key lost, an empty order."""
    try:
        return read_order(manager, job)
    except ConfigError:
        return Order()


def _runs(vms: Vms, name: str) -> bool:
    return name in vms and vms[name].state is VmState.RUNNING
