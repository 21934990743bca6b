"""The command line ``conpaassql`` against a running manager, with DUMMY as the cloud."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conpaassql.client import command, state
from conpaassql.client.ends import End
from harness import HOST, TOKEN, Rig, running

PASSWORD = "pass-word-of-the-cloud"
NOBODY = "9f3d9729-f220-11e3-adbb-b86b23dc9477"
SIZE = ("--image=name=debian-12", "--flavor=name=small")

Run = Callable[..., str]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(state, "SYSTEM", tmp_path / "none")
    for name in ("CONPAASSQL_TOKEN_FILE", "CONPAASSQL_CA"):
        monkeypatch.delenv(name, raising=False)
    with running(tmp_path) as rig:
        monkeypatch.setenv("CONPAASSQL_URL", f"http://{HOST}:{rig.port}/")
        monkeypatch.setenv("CONPAASSQL_TOKEN", TOKEN)
        yield rig


@pytest.fixture
def run(rig: Rig, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that ends as expected; return what it printed, where that is: errors when it failed."""

    def run(*arguments: str, end: End = End.DONE) -> str:
        status = command.main(arguments)
        told = capsys.readouterr()
        assert PASSWORD not in told.out + told.err
        assert status == end, told
        return told.err if end else told.out

    return run


@pytest.fixture
def cloud(run: Run, tmp_path: Path) -> str:
    """Register a cloud and return its name."""
    return register(run, tmp_path, "one.example")


def register(run: Run, folder: Path, name: str, *more: str) -> str:
    (folder / "password").write_text(PASSWORD)
    said = run("provider", "register", name, "anna", f"@{folder}/password", "http://127.44.0.9:1/", *DUMMY, *more)
    assert said == f"Provider {name} is registered.\n"
    return name


DUMMY = ("--provider_type=DUMMY",)


def rows(table: str) -> list[dict[str, str]]:
    """Return the rows of a table by their titles."""
    titles, *lines = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    return [dict(zip(titles, line, strict=True)) for line in lines]


def made(run: Run, cloud: str, *more: str) -> list[str]:
    """Make machines and return their UUIDs."""
    return [row["UUID"] for row in rows(run("machine", "create", cloud, *SIZE, *more))]


def ids(table: str) -> set[str]:
    return {row["UUID"] for row in rows(table)}


# --- providers -------------------------------------------------------------------------------------


def test_a_provider_comes_and_goes(run: Run, cloud: str) -> None:
    shown = {row["PROVIDER"]: row for row in rows(run("provider", "list"))}
    assert set(shown) == {"default", cloud}
    assert (shown[cloud]["TYPE"], shown[cloud]["USER"]) == ("DUMMY", "anna")
    assert [row["PROVIDER"] for row in rows(run("provider", "list", "--provider_id", cloud))] == [cloud]
    assert run("provider", "unregister", cloud) == f"Provider {cloud} is forgotten.\n"
    assert "[unknown-provider]" in run("provider", "unregister", cloud, end=End.REFUSED)
    assert "[unknown-provider]" in run("provider", "list", "--provider_id", cloud, end=End.REFUSED)


def test_a_provider_is_registered_once(run: Run, cloud: str) -> None:
    words = ("provider", "register", cloud, "anna", PASSWORD, "http://127.44.0.9:1/", *DUMMY)
    assert "[provider]" in run(*words, end=End.REFUSED)


def test_a_provider_of_no_known_kind(run: Run) -> None:
    words = ("provider", "register", "p", "anna", PASSWORD, "http://127.44.0.9:1/", "--provider_type=PAPER")
    assert "[provider]" in run(*words, end=End.REFUSED)


def test_a_check_lists_findings(run: Run, cloud: str) -> None:
    findings = rows(run("check", "provider", cloud))
    assert findings
    assert {row["RESULT"] for row in findings} == {"ok"}
    assert "[unknown-provider]" in run("check", "provider", "nobody", end=End.REFUSED)


def test_what_a_cloud_offers_is_listed(run: Run, cloud: str) -> None:
    assert "debian-12" in {row["NAME"] for row in rows(run("image", "list", cloud))}
    assert {"ID": "1", "NAME": "small", "VCPUS": "1", "RAM": "512", "DISK": "10", "SWAP": "0"} in rows(
        run("flavor", "list", cloud)
    )
    assert {"ID": "3", "NAME": "public", "FREE": "254"} in rows(run("network", "list", cloud))


# --- machines --------------------------------------------------------------------------------------


def test_machines_come_and_go(run: Run, cloud: str) -> None:
    created = rows(run("machine", "create", cloud, *SIZE, "--number_machines=3"))
    assert {row["STATE"] for row in created} == {"RUNNING"}
    assert len({row["ADDRESSES"] for row in created} - {"-"}) == 3
    uuids = {row["UUID"] for row in created}
    assert len(uuids) == 3
    assert ids(run("machine", "list", cloud)) == ids(run("server", "list", "--skip_store", cloud)) == uuids
    assert "in use" in run("provider", "unregister", cloud, end=End.REFUSED)
    for uuid in uuids:
        assert run("server", "destroy", cloud, uuid) == f"Machine {uuid} is destroyed.\n"
    assert ids(run("machine", "list", cloud)) == set()
    assert "[unknown-machine]" in run("machine", "destroy", cloud, uuids.pop(), end=End.REFUSED)


def test_every_option_arrives(run: Run, cloud: str, tmp_path: Path, rig: Rig) -> None:
    (tmp_path / "setup.sh").write_text("#!/bin/sh\n")
    words = (
        "--image mindisk=2 --image name=debian-12 --flavor vcpus=2 --flavor name=medium --availability_zone=z1 "
        "--key-name=anna --security_groups=default,high-security --private_nics=net-id=1,v4-fixed-ip=10.1.9.9 "
        f"--public_network=public --userdata={tmp_path}/setup.sh --swap=64 --block_device=vdb=:blank:1:1 "
        f"--scheduler_hints=rack=4 --meta=owner=anna --meta=use=test --files=/etc/motd={tmp_path}/setup.sh"
    )
    (uuid,) = (row["UUID"] for row in rows(run("machine", "create", cloud, *words.split())))
    found = json.loads(run("machine", "list", cloud, "--json"))["machines"]
    assert [(one["uuid"], one["meta"]) for one in found] == [(uuid, {"owner": "anna", "use": "test"})]
    assert found[0]["public_address"]
    assert ids(run("machine", "list", cloud, "--skip_store", "--meta_filters=owner=anna")) == {uuid}
    assert ids(run("machine", "list", cloud, "--skip_store", "--meta_filters=owner=eve")) == set()
    assert ids(run("machine", "list", cloud, "--skip_store", "--generic_filters", "state=running")) == {uuid}


def test_several_flavors_that_match_are_named(run: Run, cloud: str) -> None:
    words = ("machine", "create", cloud, "--image=name=debian-12", "--flavor=ram=2048")
    said = run(*words, end=End.REFUSED)
    assert "medium" in said
    assert "medium-fast" in said
    assert "[machine]" in said
    assert ids(run("machine", "list", cloud)) == set()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("machine create {cloud} --image=name=none --flavor=name=small", "machine"),
        ("machine create {cloud} --image=name=debian-12", "machine"),
        ("machine create {cloud} --flavor=name=small", "machine"),
        ("machine create nobody", "unknown-provider"),
        ("machine create {cloud} --private_network=private --private_nics=net-id=1", "invalid"),
        ("machine create {cloud} --public_network=public --public_nics=net-id=3", "invalid"),
        ("machine destroy {cloud} " + NOBODY, "unknown-machine"),
        ("machine destroy nobody " + NOBODY, "unknown-provider"),
        ("machine list nobody", "unknown-provider"),
        ("snapshot create {cloud} " + NOBODY, "unknown-machine"),
        ("snapshot destroy nobody " + NOBODY, "unknown-provider"),
        ("job show 4711", "not-found"),
    ],
)
def test_what_the_manager_refuses(words: str, code: str, run: Run, cloud: str, rig: Rig) -> None:
    assert f"[{code}]" in run(*words.format(cloud=cloud).split(), end=End.REFUSED)
    assert ids(run("machine", "list", cloud, "--skip_store")) == set()


def test_a_machine_of_another_provider(run: Run, cloud: str, tmp_path: Path) -> None:
    (uuid,) = made(run, cloud)
    other = register(run, tmp_path, "two.example")
    assert "[machine]" in run("machine", "destroy", other, uuid, end=End.REFUSED)
    assert ids(run("machine", "list", cloud)) == {uuid}


def test_without_a_record(run: Run, cloud: str) -> None:
    (uuid,) = made(run, cloud, "--skip_store")
    assert ids(run("machine", "list", cloud)) == set()
    assert ids(run("machine", "list", cloud, "--skip_store")) == {uuid}
    for words in (("machine", "destroy"), ("snapshot", "create"), ("snapshot", "destroy")):
        assert "[unknown-machine]" in run(*words, cloud, uuid, end=End.REFUSED)
    run("snapshot", "create", cloud, uuid, "--skip_store", "--wait_spawning=no")
    run("snapshot", "destroy", cloud, uuid, "--skip_store")
    run("machine", "destroy", cloud, uuid, "--skip_store")
    assert ids(run("machine", "list", cloud, "--skip_store")) == set()


def test_a_snapshot_is_an_image(run: Run, cloud: str) -> None:
    (uuid,) = made(run, cloud)
    run("snapshot", "create", cloud, uuid)
    (image,) = (row["NAME"] for row in rows(run("image", "list", cloud)) if uuid in row["NAME"])
    (copy,) = (row["UUID"] for row in rows(run("machine", "create", cloud, f"--image=name={image}", SIZE[1])))
    assert copy != uuid
    run("snapshot", "destroy", cloud, uuid)
    assert not [row for row in rows(run("image", "list", cloud)) if uuid in row["NAME"]]


# --- jobs ------------------------------------------------------------------------------------------


def test_an_order_that_is_not_waited_for_can_be_followed_later(run: Run, cloud: str) -> None:
    told: dict[str, Any] = json.loads(run("machine", "create", cloud, *SIZE, "--synchronous=no", "-j"))
    shown = rows(run("job", "show", str(told["job"]["id"]), "--wait"))
    assert [(row["KIND"], row["STATE"], row["DONE"]) for row in shown] == [("machine_create", "done", "100%")]
    assert rows(run("job", "list", f"--provider_id={cloud}")) == shown
    assert ids(run("machine", "list", cloud)) == {machine["uuid"] for machine in told["machines"]}


def test_a_group_that_cannot_be_made_leaves_nothing(run: Run, tmp_path: Path) -> None:
    cloud = register(run, tmp_path, "failing.example", "--extra=FAIL=machine-*")
    said = run("machine", "create", cloud, *SIZE, "--number_machines=5", end=End.REFUSED)
    assert said.startswith("conpaassql: The job failed: ")
    assert ids(run("machine", "list", cloud)) == ids(run("machine", "list", cloud, "--skip_store")) == set()


def test_a_machine_that_the_cloud_keeps_is_forgotten_by_force(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = register(run, tmp_path, "keeping.example", "--extra=fail-delete=machine-*")
    (uuid,) = made(run, cloud)
    run("machine", "destroy", cloud, uuid, end=End.REFUSED)
    assert ids(run("machine", "list", cloud)) == {uuid}
    assert command.main(["machine", "destroy", cloud, uuid, "--force"]) == End.DONE
    said = capsys.readouterr()
    assert (said.out, f"machine-{uuid} may still run" in said.err) == ("", True)
    assert ids(run("machine", "list", cloud)) == set()
