"""On every cloud: five machines are asked for, and the manager's process ends at every step that it takes."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cloud_kit import Cloud
from clouds import CLOUDS
from test_provisioning_faults import Killed, Killer, create, life, listed, run

from conpaassql.iaas import Catalog, Driver
from conpaassql.manager.context import Manager
from conpaassql.manager.provision import Provision
from conpaassql.model import JobState
from conpaassql.params_cloud import IMAGE_FILTERS

COUNT = 5
MOST_LIVES = 200


@pytest.fixture(params=list(CLOUDS))
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cpc-")))  # LOCAL has sockets in it
        opened = stack.enter_context(CLOUDS[request.param].site(short))
        yield stack.enter_context(opened())


def test_five_machines_are_made_once_each(cloud: Cloud, tmp_path: Path) -> None:
    """No life is longer than two steps: it ends before its first, or behind its first, in turns."""
    driver = cloud.make("conpaassql")
    (tmp_path / "m").mkdir()
    with life(tmp_path / "m", driver) as (manager, _):
        create(COUNT, **chosen(driver))(manager)
    for lives in itertools.count(1):
        assert lives < MOST_LIVES, "it makes no progress"
        with life(tmp_path / "m", driver, Killer(at=lives % 2)) as (manager, provision):
            if survived(manager, provision):
                break
    with life(tmp_path / "m", driver) as (manager, provision):
        job = manager.store.machine_jobs.list("default")[-1]
        assert (job.state, job.leftovers) == (JobState.DONE, ()), job.says
        on_record = {machine["uuid"] for machine in listed(manager)}
        assert len(on_record) == COUNT
        assert sorted(vm.tags["machine"] for vm in driver.list()) == sorted(on_record)
    assert lives > COUNT


def survived(manager: Manager, provision: Provision) -> bool:
    """Whether nothing was left to do for this life."""
    try:
        run(manager, provision)
    except Killed:
        return False
    return True


def chosen(driver: Driver) -> dict[str, object]:
    """Filters that fit one image and one flavor of the cloud."""
    assert isinstance(driver, Catalog)
    flavors = driver.flavors()
    flavor = (("id", flavors[0].id),) if flavors else (("vcpus", 0.5), ("ram", 256))
    return {"image": IMAGE_FILTERS("image", f"id={driver.images()[0].id}"), "flavor": flavor}
