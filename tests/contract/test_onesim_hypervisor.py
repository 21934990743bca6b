"""What runs the simulator's guests: LOCAL VMs, at the addresses and with the contexts that the core gave."""

import base64
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from onesim.hypervisor import BootFailed, Disks, Hypervisor, Local, Nothing

NETWORK = "127.72.1."
WITHIN_S = 20.0
Made = Callable[[], Hypervisor]


@pytest.fixture
def root() -> Iterator[Path]:
    """A short path, for sockets; no VM is left in it."""
    with tempfile.TemporaryDirectory(prefix="cps-") as folder:
        yield Path(folder)
        Local(Path(folder)).close()


@pytest.fixture
def guests(root: Path) -> Local:
    return Local(root)


def script(text: str) -> dict[str, str]:
    """Return a context that runs ``text`` in the guest."""
    lines = f'#!/bin/sh\n. "$CONPAASSQL_CONTEXT"\n{text}\n'
    return {"START_SCRIPT_BASE64": base64.b64encode(lines.encode()).decode()}


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read(path: Path) -> str:
    """Return what a guest has written, when it has."""
    eventually(lambda: path.exists() and path.read_text() != "")
    return path.read_text()


@pytest.mark.parametrize("kind", ["nothing", "local"])
def test_every_call_may_be_repeated_and_unknown_guests_are_no_error(kind: str, root: Path) -> None:
    guests: Hypervisor = Nothing() if kind == "nothing" else Local(root)
    for _ in range(2):
        guests.boot(1, "a", {}, 64, f"{NETWORK}1")
        assert guests.alive(1)
    for _ in range(2):
        guests.power_off(1)
    for _ in range(2):
        guests.destroy(1)
    guests.power_off(99)
    guests.destroy(99)
    guests.save(99, 99)
    guests.forget(99)


def test_a_guest_has_the_context_the_memory_and_the_address_of_its_vm(guests: Local, root: Path) -> None:
    text = 'printf "%s|" "$ODD" "$CONPAASSQL_ADDRESS" "$CONPAASSQL_MEMORY_MIB" >"$CONPAASSQL_ROOT/said"'
    guests.boot(3, "web", {"ODD": "it's $HOME", **script(text)}, 96, f"{NETWORK}3")
    assert read(root / "one" / "one-3" / "disk" / "said") == f"it's $HOME|{NETWORK}3|96|"


def test_a_node_boots_as_an_image_with_conpaassql_in_it(root: Path) -> None:
    init = root / "init.sh"
    init.write_text('. "$CONPAASSQL_CONTEXT"\nprintf %s "$CONPAASSQL_NODE" >"$CONPAASSQL_ROOT/said"\nexec sleep 1000\n')
    guests = Local(root / "v", init)
    guests.boot(3, "db", {"CONPAASSQL_NODE": "17", **script("exit 1")}, 96, f"{NETWORK}4")
    assert read(root / "v" / "one" / "one-3" / "disk" / "said") == "17"
    guests.close()


def test_the_disk_stays_while_the_power_is_off(guests: Local, root: Path) -> None:
    disk = root / "one" / "one-1" / "disk"
    guests.boot(1, "a", script('echo once >>"$CONPAASSQL_ROOT/said"'), 64, f"{NETWORK}5")
    read(disk / "said")
    guests.power_off(1)
    assert not guests.alive(1)
    guests.boot(1, "a", {}, 128, f"{NETWORK}5")
    assert guests.alive(1)
    assert read(disk / "said") == "once\n"
    assert "CONPAASSQL_MEMORY_MIB='128'" in (disk.parent / "context.sh").read_text()
    guests.destroy(1)
    assert not guests.alive(1)
    assert not disk.exists()


def test_a_guest_that_switches_itself_off_is_not_alive(guests: Local) -> None:
    guests.boot(1, "a", script('kill -9 "$PPID"'), 64, f"{NETWORK}6")
    eventually(lambda: not guests.alive(1))


@pytest.mark.parametrize("address", ["10.30.1.5", "nonsense"])
def test_an_address_that_is_not_of_this_machine_is_a_failed_boot(guests: Local, address: str) -> None:
    with pytest.raises(BootFailed, match=r"127\.0\.0\.0/8"):
        guests.boot(1, "a", {}, 64, address)
    assert not guests.alive(1)


def test_an_address_that_another_has_is_a_failed_boot(guests: Local) -> None:
    guests.boot(1, "a", {}, 64, f"{NETWORK}7")
    with pytest.raises(BootFailed, match="was given to somebody else"):
        guests.boot(2, "b", {}, 64, f"{NETWORK}7")
    guests.destroy(1)
    guests.boot(2, "b", {}, 64, f"{NETWORK}7")
    assert guests.alive(2)


def test_a_data_disk_outlives_its_guests_until_its_image_goes(guests: Local, root: Path) -> None:
    write = script(
        'echo "$CONPAASSQL_ADDRESS" >>"$CONPAASSQL_DATA_DIR/said"; cat "$CONPAASSQL_DATA_DIR/said" >"$HOME/r"'
    )
    for number in (1, 2):
        guests.boot(number, "a", write, 64, f"{NETWORK}{number + 10}", Disks(data=40))
        said = read(root / "one" / f"one-{number}" / "r")
        guests.destroy(number)
    assert said == f"{NETWORK}11\n{NETWORK}12\n"
    guests.forget(40)
    guests.boot(3, "a", write, 64, f"{NETWORK}13", Disks(data=40))
    assert read(root / "one" / "one-3" / "r") == f"{NETWORK}13\n"


def test_a_saved_disk_is_found_by_the_guests_that_boot_from_it(guests: Local, root: Path) -> None:
    guests.boot(1, "a", script('echo precious >"$CONPAASSQL_ROOT/file"'), 64, f"{NETWORK}14")
    read(root / "one" / "one-1" / "disk" / "file")
    guests.save(1, 50)
    guests.boot(2, "b", {}, 64, f"{NETWORK}15", Disks(image=50))
    assert read(root / "one" / "one-2" / "disk" / "file") == "precious\n"
    guests.boot(3, "c", {}, 64, f"{NETWORK}16", Disks(image=51))
    assert list((root / "one" / "one-3" / "disk").iterdir()) == []
    guests.forget(50)
    guests.boot(4, "d", {}, 64, f"{NETWORK}17", Disks(image=50))
    assert list((root / "one" / "one-4" / "disk").iterdir()) == []


SCRIPTS = [
    {"START_SCRIPT": "#!/bin/sh\necho ran >$HOME/r\n"},
    {"USER_DATA": "#!/bin/sh\necho ran >$HOME/r\n"},
    {"USERDATA": base64.b64encode(b"#!/bin/sh\necho ran >$HOME/r\n").decode(), "USERDATA_ENCODING": "base64"},
]


@pytest.mark.parametrize("context", SCRIPTS, ids=lambda context: "-".join(context))
def test_a_script_comes_in_any_of_the_usual_keys(guests: Local, root: Path, context: dict[str, str]) -> None:
    guests.boot(1, "a", context, 64, f"{NETWORK}18")
    assert read(root / "one" / "one-1" / "r") == "ran\n"


@pytest.mark.parametrize("context", [{"START_SCRIPT_BASE64": "!"}, {"START_SCRIPT": "#cloud-config"}])
def test_a_guest_without_a_script_just_stays_up(guests: Local, context: dict[str, str]) -> None:
    guests.boot(1, "a", context, 64, f"{NETWORK}19")
    assert guests.alive(1)


def test_a_new_simulator_clears_up_what_another_left(root: Path) -> None:
    Local(root).boot(1, "a", {}, 64, f"{NETWORK}20")
    later = Local(root)
    assert later.alive(1)
    later.close()
    assert not later.alive(1)
