"""What becomes of machines when the cloud fails, refuses, or the manager is killed, at every step of a job."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent_fake import PretendAgents
from conpaassql import pki, settings
from conpaassql.errors import IaasBusy, IaasDenied, IaasError, MachineError, ProviderError, UnknownMachine
from conpaassql.iaas import Driver, Vm, VmSpec, dummy
from conpaassql.manager import clouds, machine_queries, machines
from conpaassql.manager.context import Manager, order_numbers
from conpaassql.manager.looks import Looks
from conpaassql.manager.provider import Provider
from conpaassql.manager.providers import Providers
from conpaassql.manager.provision import OnChange, Provision
from conpaassql.manager.store import open_store
from conpaassql.manager.wishes import Accepted
from conpaassql.model import JobState
from conpaassql.model_cloud import MachineJob, Phase
from conpaassql.offers import Snapshot
from conpaassql.params_cloud import IMAGE_FILTERS
from conpaassql.vault import open_vault

AUTHORITY = pki.new_authority("conpaassql")
MOST_STEPS = 60
PATIENCE_S = 10.0
ABSENT = "9f3d9729-f220-11e3-adbb-b86b23dc9477"
Order = Callable[[Manager], Accepted]


class Killed(BaseException):
    """The manager's process ends here."""


@dataclass(slots=True)
class Killer:
    """Ends the process at one step, counted from 0; ``last`` is what it was."""

    at: int
    seen: int = 0
    last: str = ""

    def __call__(self, when: str, step: str) -> None:
        self.last = f"{when} {step}"
        self.seen += 1
        if self.seen - 1 == self.at:
            raise Killed


@dataclass(slots=True, kw_only=True)
class Moody:
    """A driver that does what its inner one does, unless it is told otherwise.

    ``refuse_create`` is the number of a machine, counted from 0, whose creation is refused for good.
    ``keep`` are names of VMs that cannot be deleted; none can before ``busy_until``.  ``deaf``: nothing is
    listed.  ``late``: creations are not answered, and what they make is listed only a moment after it was
    given up.  ``lag_s`` is how much later than it answers the cloud lists what it has made; ``calls`` are
    the names of all creations.
    """

    inner: dummy.Driver
    refuse_create: int = -1
    keep: set[str] = field(default_factory=set)
    busy_until: float = 0.0
    addresses_are_forbidden: bool = False
    keep_all: bool = False
    keep_snapshots: bool = False
    deaf: bool = False
    late: bool = False
    lag_s: float = 0.0
    calls: list[str] = field(default_factory=list)
    made_at: dict[str, float] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    waiting: list[VmSpec] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create(self, spec: VmSpec) -> str:
        """Refuse one, if that is wished."""
        self.calls.append(spec.name)
        if spec.name not in self.names:
            self.names.append(spec.name)
        if self.names.index(spec.name) == self.refuse_create:
            raise IaasDenied("No more of these machines are allowed.")
        if self.late:
            self.waiting.append(spec)
            raise IaasError("The answer was lost.")
        self.made_at[spec.name] = time.monotonic()
        return self.inner.create(spec)

    def assign(self, vm_id: str, pool: str) -> str:
        """Give a public address."""
        return self.inner.assign(vm_id, pool)

    def release(self, vm_id: str) -> None:
        """Take note, and take it back."""
        if self.addresses_are_forbidden:
            raise IaasDenied("This user may not look at public addresses.")
        assert vm_id in {vm.id for vm in self.inner.list()}, "the VM was gone first"
        self.released.append(vm_id)
        self.inner.release(vm_id)

    def list(self) -> Sequence[Vm]:
        """List, if it hears."""
        if self.deaf:
            raise IaasError("The cloud does not answer.")
        return [vm for vm in self.inner.list() if self.seen(vm.name)]

    def seen(self, name: str) -> bool:
        """Whether the cloud lists something by now."""
        return time.monotonic() - self.made_at.get(name, float("-inf")) >= self.lag_s

    def delete(self, vm_id: str) -> None:
        """Keep some."""
        if time.monotonic() < self.busy_until:
            raise IaasBusy("The VM is booting.")
        name = next((vm.name for vm in self.inner.list() if vm.id == vm_id), "")
        if self.keep_all or name in self.keep:
            raise IaasDenied(f"{name} may not be deleted.")
        self.inner.delete(vm_id)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Keep all, if that is wished."""
        if self.keep_snapshots:
            raise IaasDenied("Snapshots may not be deleted.")
        self.inner.delete_snapshot(snapshot_id)

    def snapshots(self) -> Sequence[Snapshot]:
        """List the snapshots."""
        return [found for found in self.inner.snapshots() if self.seen(found.name)]

    def snapshot(self, vm_id: str, name: str) -> str:
        """Make a snapshot, and say so unless it is late."""
        self.calls.append(name)
        self.made_at[name] = time.monotonic()
        made = self.inner.snapshot(vm_id, name)
        if self.late:
            raise IaasError("The answer was lost.", lost=True)
        return made


@contextmanager
def life(
    folder: Path,
    driver: Driver,
    on_change: OnChange | None = None,
    patience_s: float = 0.05,
    settle_s: float = 0.01,
    **options: str,
) -> Iterator[tuple[Manager, Provision]]:
    """One life of a manager on the store in ``folder``, whose worker only works when it is told to."""
    lines = "".join(f"{key} = {value}\n" for key, value in options.items())
    found = settings.parse_manager(f"[iaas]\nDRIVER = DUMMY\n[manager]\n{lines}")
    store, vault = open_store(folder / "store.sqlite"), open_vault(folder)
    provision = Provision(on_change, patience_s=patience_s, settle_s=settle_s, wait_s=0.1)
    cloud = Provider(driver, time.monotonic)
    providers = Providers(cloud, store, vault, "conpaassql", clock=time.monotonic)
    yield (
        Manager(
            settings=found,
            store=store,
            looks=Looks(),
            agents=PretendAgents(),
            providers=providers,
            provision=provision,
            vault=vault,
            authority=AUTHORITY,
            join_key=b"j" * 32,
            numbers=order_numbers(1),
            now=lambda: datetime.now(UTC),
            wake=lambda _cluster: None,
        ),
        provision,
    )
    providers.close()
    store.close()


def run(manager: Manager, provision: Provision) -> MachineJob:
    """Let the worker work until nothing is left to do, and return the last job."""
    deadline = time.monotonic() + PATIENCE_S
    while (pause_s := provision.round(manager, "default")) is not None:
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(min(pause_s, 0.01))
    return manager.store.machine_jobs.list("default")[-1]


def create(count: int = 3, **more: Any) -> Order:
    """Return an order of machines."""
    nothing: dict[str, Any] = {
        "provider_id": "default",
        "availability_zone": "",
        "key_name": "",
        "security_groups": (),
        "private_network": "",
        "public_network": "",
        "userdata": "",
        "swap": 0,
        "block_device": (),
        "scheduler_hints": {},
        "private_nics": (),
        "public_nics": (),
        "meta": {},
        "files": {},
        "skip_store": False,
        "wait_spawning": True,
        "synchronous": False,
        "image": IMAGE_FILTERS("image", "id=1"),
        "flavor": (("name", "small"),),
    }
    asked = machines.Create(number_machines=count, **{**nothing, **more})
    return lambda manager: machines.create(manager, asked)


def destroy(manager: Manager, uuid: str, *, force: bool = False, skip_store: bool = False) -> Accepted:
    """Order a machine's end."""
    return machines.destroy(
        manager, provider_id="default", machine_uuid=uuid, skip_store=skip_store, force=force, synchronous=False
    )


def snapshot(manager: Manager, uuid: str) -> Accepted:
    """Order a snapshot."""
    return machines.snapshot(
        manager, provider_id="default", machine_uuid=uuid, skip_store=False, wait_spawning=True, synchronous=False
    )


def listed(manager: Manager) -> list[dict[str, Any]]:
    """Return the machines on record."""
    found = machine_queries.machines(
        manager, provider_id="default", skip_store=False, generic_filters=(), meta_filters={}
    )
    machines: list[dict[str, Any]] = found["machines"]
    return machines


def killed_everywhere(
    folder: Path, make: Callable[[], Driver], prepare: Callable[[Manager, Provision], None], order: Order
) -> Iterator[tuple[str, MachineJob, Manager, Driver]]:
    """Kill the manager at each step of a job, in turn, and yield what the next life made of it."""
    for at in range(MOST_STEPS):
        driver, killer, home = make(), Killer(at), folder / str(at)
        home.mkdir()
        with life(home, driver) as (manager, provision):
            prepare(manager, provision)
            order(manager)
        with life(home, driver, killer) as (manager, provision):
            try:
                run(manager, provision)
            except Killed:
                pass
            else:
                assert at > 4, "nobody watched the steps"
                return
        with life(home, driver) as (manager, provision):
            yield killer.last, run(manager, provision), manager, driver
    raise AssertionError("the job has no end")


def nothing_before(_manager: Manager, _provision: Provision) -> None:
    """Begin with an empty cloud."""


class TestKilled:
    """The next life goes on: whatever the step, the end is the same."""

    @pytest.mark.parametrize("skip_store", [False, True])
    def test_machines_are_all_there(self, tmp_path: Path, skip_store: bool) -> None:
        order = create(3, skip_store=skip_store, public_network="public")
        for step, job, manager, driver in killed_everywhere(tmp_path, plain, nothing_before, order):
            assert job.state is JobState.DONE, step
            assert {vm.tags["machine"] for vm in driver.list()} == set(job.machines), step
            assert len(driver.list()) == 3, step
            assert all(vm.public_address for vm in driver.list()), step
            assert {one["uuid"] for one in listed(manager)} == (set() if skip_store else set(job.machines)), step
            assert manager.store.machines.list("default") == [] or not skip_store, step

    @pytest.mark.parametrize("skip_store", [False, True])
    def test_or_none_is(self, tmp_path: Path, skip_store: bool) -> None:
        order = create(3, skip_store=skip_store)
        for step, job, manager, driver in killed_everywhere(tmp_path, third_refused, nothing_before, order):
            assert (job.state, job.code, job.leftovers) == (JobState.FAILED, "iaas-denied", ()), step
            assert list(driver.list()) == [], step
            assert manager.store.machines.list("default") == [], step

    def test_a_machine_goes_with_its_snapshots(self, tmp_path: Path) -> None:
        def prepare(manager: Manager, provision: Provision) -> None:
            create(2)(manager)
            run(manager, provision)
            for _ in range(2):
                snapshot(manager, listed(manager)[0]["uuid"])
                run(manager, provision)

        def order(manager: Manager) -> Accepted:
            return destroy(manager, listed(manager)[0]["uuid"])

        for step, job, manager, driver in killed_everywhere(tmp_path, plain, prepare, order):
            assert job.state is JobState.DONE, (step, job.says)
            assert isinstance(driver, dummy.Driver)
            assert list(driver.snapshots()) == [], step
            assert [vm.tags["machine"] for vm in driver.list()] == [one["uuid"] for one in listed(manager)], step
            assert len(listed(manager)) == 1, step

    def test_a_snapshot_is_made_once(self, tmp_path: Path) -> None:
        def prepare(manager: Manager, provision: Provision) -> None:
            create(1)(manager)
            run(manager, provision)

        def order(manager: Manager) -> Accepted:
            return snapshot(manager, listed(manager)[0]["uuid"])

        for step, job, _manager, driver in killed_everywhere(tmp_path, plain, prepare, order):
            assert job.state is JobState.DONE, step
            assert isinstance(driver, dummy.Driver)
            assert len(driver.snapshots()) == 1, step


def plain() -> dummy.Driver:
    """A cloud in which all goes well."""
    return dummy.Driver({}, "conpaassql")


def third_refused() -> Driver:
    """A cloud that refuses the third machine."""
    return Moody(inner=plain(), refuse_create=2)  # type: ignore[return-value]


@pytest.fixture
def moody() -> Moody:
    return Moody(inner=plain())


@pytest.fixture
def begun(tmp_path: Path, moody: Moody) -> Iterator[tuple[Manager, Provision]]:
    with life(tmp_path, moody) as begun:  # type: ignore[arg-type]
        yield begun


Begun = tuple[Manager, Provision]


class TestUndo:
    """A group that cannot be whole."""

    def test_a_failure_does_not_keep_the_others(self, begun: Begun, moody: Moody) -> None:
        manager, provision = begun
        moody.refuse_create = 3
        moody.keep = set()
        create(4)(manager)
        first = manager.store.machine_jobs.list("default")[-1].machines[0]
        moody.keep = {f"machine-{first}"}
        job = run(manager, provision)
        assert (job.state, job.code) == (JobState.FAILED, "iaas-denied")
        assert job.leftovers == (f"machine-{first}",)
        assert f"machine-{first}" in job.says
        assert [vm.name for vm in moody.list()] == [f"machine-{first}"]
        assert [(one["uuid"], one["state"]) for one in listed(manager)] == [(first, "LEFTOVER")]
        assert any(event.code == "leftovers" for event in manager.store.events.list("", 100, "default"))
        moody.keep = set()
        destroy(manager, first)
        assert run(manager, provision).state is JobState.DONE
        assert (list(moody.list()), listed(manager)) == ([], [])

    def test_what_appears_late_is_removed_too(self, tmp_path: Path, moody: Moody) -> None:
        moody.late = True
        with life(tmp_path, moody, settle_s=1.0) as (manager, provision):  # type: ignore[arg-type]
            create(1)(manager)
            while manager.store.machine_jobs.list("default")[-1].phase != "undoing":
                provision.round(manager, "default")
            provision.round(manager, "default")  # nothing is there yet
            moody.inner.create(moody.waiting[0])
            assert run(manager, provision).leftovers == ()
        assert list(moody.list()) == []

    def test_what_appears_late_is_removed_whatever_failed_the_job(self, tmp_path: Path, moody: Moody) -> None:
        """The first creation was not answered; what fails the job is that it counts against the quota already."""
        moody.late = True
        with life(tmp_path, moody, patience_s=PATIENCE_S, settle_s=1.0) as (manager, provision):  # type: ignore[arg-type]
            create(1)(manager)
            while not moody.waiting:
                provision.round(manager, "default")
            moody.refuse_create = 0
            while manager.store.machine_jobs.list("default")[-1].phase != "undoing":
                provision.round(manager, "default")
            provision.round(manager, "default")  # nothing is there yet
            moody.inner.create(moody.waiting[0])
            job = run(manager, provision)
        assert (job.code, job.leftovers, list(moody.list())) == ("iaas-denied", (), [])

    def test_what_is_listed_late_is_removed_too(self, tmp_path: Path, moody: Moody) -> None:
        moody.lag_s, moody.refuse_create = 0.3, 2
        with life(tmp_path, moody, settle_s=1.0) as (manager, provision):  # type: ignore[arg-type]
            create(3)(manager)
            job = run(manager, provision)
        assert (job.code, job.leftovers, list(moody.inner.list())) == ("iaas-denied", (), [])

    def test_what_is_listed_late_is_asked_for_once(self, tmp_path: Path, moody: Moody) -> None:
        """A driver that looks names up in the same list would make it twice."""
        moody.lag_s = 0.3
        with life(tmp_path, moody, settle_s=PATIENCE_S) as (manager, provision):  # type: ignore[arg-type]
            create(2)(manager)
            assert run(manager, provision).state is JobState.DONE
            snapshot(manager, listed(manager)[0]["uuid"])
            assert run(manager, provision).state is JobState.DONE
        assert len(moody.calls) == len(set(moody.calls)) == 3

    def test_what_a_killed_manager_asked_for_may_appear_late(self, tmp_path: Path, moody: Moody) -> None:
        moody.lag_s, moody.refuse_create = 0.3, 1
        with life(tmp_path, moody, Killer(6)) as (manager, provision):  # type: ignore[arg-type]
            create(2)(manager)
            with pytest.raises(Killed):
                run(manager, provision)
        with life(tmp_path, moody, settle_s=1.0) as (manager, provision):  # type: ignore[arg-type]
            assert manager.store.machine_jobs.list("default")[-1].phase == "undoing"
            assert run(manager, provision).code == "iaas-denied"
        assert list(moody.inner.list()) == []

    def test_a_snapshot_that_appears_late_is_removed_too(self, tmp_path: Path, moody: Moody) -> None:
        with life(tmp_path, moody, settle_s=1.0) as (manager, provision):  # type: ignore[arg-type]
            create(1)(manager)
            run(manager, provision)
            moody.made_at.clear()
            moody.late, moody.lag_s = True, 0.5
            snapshot(manager, listed(manager)[0]["uuid"])
            assert run(manager, provision).state is JobState.FAILED
        assert list(moody.inner.snapshots()) == []

    def test_an_order_that_cannot_be_read_keeps_no_other_job(self, begun: Begun) -> None:
        """Neither that of a job which is at work, nor that of one that is undone."""
        manager, provision = begun
        create(1)(manager)
        for phase in (Phase.DOING, Phase.UNDOING):
            create(1)(manager)
            broken = manager.store.machine_jobs.list("default")[-1]
            sealed = manager.vault.seal(b'{"image": 7}', f"job {broken.group}")  # as no version writes it
            manager.store.machine_jobs.change(broken.id, phase=phase, sealed=sealed)
        run(manager, provision)
        done, *failed = manager.store.machine_jobs.list("default")
        assert done.state is JobState.DONE
        assert [job.state for job in failed] == [JobState.FAILED] * 2

    def test_addresses_are_given_back_first(self, begun: Begun, moody: Moody) -> None:
        manager, provision = begun
        create(2, public_network="public")(manager)
        run(manager, provision)
        ids = {vm.tags["machine"]: vm.id for vm in moody.list() if vm.public_address}
        for uuid in ids:
            destroy(manager, uuid)
            run(manager, provision)
        assert moody.released == list(ids.values())
        moody.released.clear()
        moody.names.clear()
        moody.refuse_create = 2
        create(3, public_network="public")(manager)
        assert run(manager, provision).state is JobState.FAILED
        assert len(moody.released) == 2

    def test_a_silent_cloud_is_waited_for(self, tmp_path: Path, moody: Moody) -> None:
        with life(tmp_path, moody, patience_s=0.02) as (manager, provision):  # type: ignore[arg-type]
            moody.refuse_create = 1
            create(2)(manager)
            while manager.store.machine_jobs.list("default")[-1].phase != "undoing":
                provision.round(manager, "default")
            moody.deaf = True
            until = time.monotonic() + 0.2  # ten times the patience with other failures
            while time.monotonic() < until:
                assert provision.round(manager, "default") is not None
            moody.deaf = False
            job = run(manager, provision)
        assert (job.state, job.leftovers) == (JobState.FAILED, ())
        assert list(moody.list()) == []

    def test_a_deadline_ends_it(self, tmp_path: Path) -> None:
        slow = dummy.Driver({"DUMMY_DELAY_S": "3600"}, "conpaassql")
        with life(tmp_path, slow, add_nodes_deadline_s="0.1") as (manager, provision):
            create(2)(manager)
            job = run(manager, provision)
        assert (job.state, job.code) == (JobState.FAILED, "machine")
        assert f"machine-{job.machines[0]} is booting" in job.says
        assert "[manager] add_nodes_deadline_s" in job.says
        assert list(slow.list()) == []

    def test_not_to_wait_is_to_be_done_when_asked_for(self, tmp_path: Path) -> None:
        slow = dummy.Driver({"DUMMY_DELAY_S": "3600"}, "conpaassql")
        with life(tmp_path, slow) as (manager, provision):
            create(2, wait_spawning=False)(manager)
            job = run(manager, provision)
            assert job.state is JobState.DONE
            assert [vm.state for vm in slow.list()] == ["booting", "booting"]

    @pytest.mark.parametrize("key", ["DUMMY_FAIL", "DUMMY_LOSE_ANSWER"])
    def test_what_passes_is_tried_again(self, tmp_path: Path, key: str) -> None:
        driver = dummy.Driver({key: "2"}, "conpaassql")  # every second call
        with life(tmp_path, driver, patience_s=PATIENCE_S) as (manager, provision):
            create(3)(manager)
            job = run(manager, provision)
        assert job.state is JobState.DONE
        assert len(driver.list()) == 3

    def test_what_never_passes_fails(self, tmp_path: Path) -> None:
        driver = dummy.Driver({"DUMMY_FAIL": "*"}, "conpaassql")
        with life(tmp_path, driver) as (manager, provision):
            create(2)(manager)
            job = run(manager, provision)
        assert (job.state, job.code) == (JobState.FAILED, "iaas")

    def test_a_failed_snapshot_leaves_nothing(self, tmp_path: Path) -> None:
        driver = dummy.Driver({"DUMMY_LOSE_SNAPSHOT": "*"}, "conpaassql")
        with life(tmp_path, driver, add_nodes_deadline_s="0.2") as (manager, provision):
            create(1)(manager)
            run(manager, provision)
            snapshot(manager, listed(manager)[0]["uuid"])
            assert run(manager, provision).state is JobState.DONE  # found by its name, although no answer came
            assert len(driver.snapshots()) == 1


class TestForce:
    """Destroying where the cloud refuses."""

    def test_without_it_the_record_stays(self, begun: Begun, moody: Moody) -> None:
        manager, provision = begun
        create(1)(manager)
        run(manager, provision)
        moody.keep_all = True
        uuid = listed(manager)[0]["uuid"]
        destroy(manager, uuid)
        job = run(manager, provision)
        assert (job.state, job.code) == (JobState.FAILED, "iaas-denied")
        assert [(one["uuid"], one["state"]) for one in listed(manager)] == [(uuid, "RUNNING")]

    @pytest.mark.parametrize("deaf", [False, True])
    def test_with_it_the_answer_names_what_may_still_run(self, begun: Begun, moody: Moody, deaf: bool) -> None:
        manager, provision = begun
        create(1)(manager)
        run(manager, provision)
        moody.keep_all, moody.deaf = True, deaf
        uuid = listed(manager)[0]["uuid"]
        destroy(manager, uuid, force=True)
        job = run(manager, provision)
        assert job.state is JobState.DONE
        assert job.leftovers == (f"machine-{uuid}",)
        assert f"machine-{uuid} may still run" in job.says
        assert listed(manager) == []

    def test_what_is_busy_is_waited_for(self, begun: Begun, moody: Moody) -> None:
        """A VM that boots cannot be removed, and booting may take minutes."""
        manager, provision = begun
        create(1, wait_spawning=False)(manager)
        run(manager, provision)
        moody.busy_until = time.monotonic() + 0.3  # six times the patience with what fails
        destroy(manager, listed(manager)[0]["uuid"])
        assert run(manager, provision).state is JobState.DONE
        assert list(moody.list()) == []

    def test_who_may_not_look_at_addresses_can_remove_a_machine(self, begun: Begun, moody: Moody) -> None:
        manager, provision = begun
        create(1)(manager)
        run(manager, provision)
        moody.addresses_are_forbidden = True
        destroy(manager, listed(manager)[0]["uuid"])
        assert run(manager, provision).state is JobState.DONE
        assert list(moody.list()) == []

    def test_it_tries_everything(self, begun: Begun, moody: Moody) -> None:
        manager, provision = begun
        create(1)(manager)
        run(manager, provision)
        uuid = listed(manager)[0]["uuid"]
        snapshot(manager, uuid)
        run(manager, provision)
        moody.keep_snapshots = True
        destroy(manager, uuid)
        assert run(manager, provision).state is JobState.FAILED
        assert len(moody.list()) == 1
        destroy(manager, uuid, force=True)
        job = run(manager, provision)
        assert (job.state, job.leftovers) == (JobState.DONE, ())
        assert list(moody.list()) == []
        assert "did not do all of its part" in job.says

    def test_an_unknown_machine_stays_unknown(self, begun: Begun) -> None:
        manager, provision = begun
        with pytest.raises(UnknownMachine):
            destroy(manager, ABSENT, force=True)
        destroy(manager, ABSENT, force=True, skip_store=True)
        assert run(manager, provision).code == "unknown-machine"


class TestAtOnce:
    """Several calls about the same things."""

    def test_a_machine_is_in_one_job(self, begun: Begun) -> None:
        manager, provision = begun
        create(1)(manager)
        (uuid,) = manager.store.machine_jobs.list("default")[-1].machines
        with pytest.raises(MachineError, match="busy"):
            destroy(manager, uuid)
        run(manager, provision)
        snapshot(manager, uuid)
        with pytest.raises(MachineError, match="busy"):
            destroy(manager, uuid)
        run(manager, provision)

    def test_a_provider_with_a_job_stays(self, begun: Begun) -> None:
        manager, provision = begun
        clouds.register(manager, registration("p"))
        create(1, provider_id="p", skip_store=True)(manager)
        with pytest.raises(ProviderError, match="job 1"):
            clouds.unregister(manager, provider_id="p", synchronous=True)
        while provision.round(manager, "p") is not None:
            pass
        clouds.unregister(manager, provider_id="p", synchronous=True)

    def test_a_call_waits_no_longer_than_it_may(self, tmp_path: Path) -> None:
        slow = dummy.Driver({"DUMMY_DELAY_S": "3600"}, "conpaassql")
        with life(tmp_path, slow) as (manager, provision):
            provision.start(manager)
            try:
                began = time.monotonic()
                answer = create(1, synchronous=True)(manager).result
                assert 0.1 <= time.monotonic() - began < PATIENCE_S
                assert answer["job"]["state"] == "running"
            finally:
                provision.stop()


def registration(name: str) -> clouds.Registration:
    """Return a registration of another pretended cloud."""
    return clouds.Registration(
        provider_id=name,
        username="ann",
        password="s3cret",
        url="",
        tenant="",
        provider_type="DUMMY",
        default_image="",
        default_flavor="",
        extra={},
        synchronous=True,
    )
