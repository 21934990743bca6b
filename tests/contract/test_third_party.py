"""A driver that somebody installed is found by its entry point, without a line of ours.

The package is made for the test and seen by a Python of its own, as an installed one would be.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = '''
"""A cloud of somebody else's."""

from conpaassql.errors import ConfigError
from conpaassql.iaas import Vm, VmSpec, VmState

NAMES = ("ACME", "ACME_CLOUD")
OPTIONS = {"ACME_URL": "", "ACME_COLOUR": "blue"}


class Driver:
    def __init__(self, options, owner):
        if not options.get("ACME_URL"):
            raise ConfigError("[iaas] ACME_URL is missing.", section="iaas", key="ACME_URL")
        self.colour = options.get("ACME_COLOUR") or OPTIONS["ACME_COLOUR"]
        self.owner = owner
        self.vms = {}

    def create(self, spec):
        tags = {**spec.tags, "colour": self.colour, "owner": self.owner}
        self.vms[spec.name] = Vm(id=spec.name, name=spec.name, state=VmState.RUNNING, address=None, tags=tags)
        return spec.name

    def list(self):
        return list(self.vms.values())

    def delete(self, vm_id):
        self.vms.pop(vm_id, None)
'''
USER = """
import json, sys
from conpaassql import iaas, settings
from conpaassql.errors import ConfigError
from conpaassql.iaas import Flavor, Power, VmSpec
from pathlib import Path

found = settings.load_manager(Path(sys.argv[1])).iaas
try:
    driver = iaas.load(found.driver, found.options, "me")
except ConfigError as exc:
    print(json.dumps({"refused": exc.says}))
else:
    driver.create(VmSpec(name="a-1", flavor=Flavor(), tags={"node": "1"}, context={}, template=""))
    (vm,) = driver.list()
    print(json.dumps({"tags": dict(vm.tags), "names": list(iaas.names()), "power": isinstance(driver, Power)}))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory on the path with the package installed in it."""
    (tmp_path / "acme_iaas.py").write_text(DRIVER)
    info = tmp_path / "acme_iaas-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-iaas\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[conpaassql.iaas]\nacme = acme_iaas\n")
    return tmp_path


def used(place: Path, ini: str, *, installed: bool = True) -> dict[str, object]:
    """Load the driver that the INI names, in a Python of its own, and use it."""
    (place / "manager.ini").write_text(ini)
    environment = {**os.environ, "PYTHONPATH": str(place) if installed else ""}
    command = [sys.executable, "-c", USER, str(place / "manager.ini")]
    # Elsewhere: -c puts the current directory on the path.
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_it_is_found_by_its_entry_point(place: Path) -> None:
    found = used(place, "[iaas]\nDRIVER = acme\nACME_URL = http://acme.example.org\nACME_COLOUR = red\n")
    assert found["tags"] == {"node": "1", "colour": "red", "owner": "me"}
    assert {"ACME", "ACME_CLOUD", "LOCAL"} <= set(found["names"])  # type: ignore[call-overload]
    assert found["power"] is False


def test_it_checks_its_own_options(place: Path) -> None:
    assert used(place, "[iaas]\nDRIVER = ACME_CLOUD\n") == {"refused": "[iaas] ACME_URL is missing."}
    refused = str(used(place, "[iaas]\nDRIVER = ACME\nACME_URL = x\nACME_SIZE = 1\n")["refused"])
    assert "ACME_SIZE" in refused
    assert "ACME_URL, ACME_COLOUR" in refused


def test_without_the_package_there_is_no_such_driver(place: Path) -> None:
    refused = str(used(place, "[iaas]\nDRIVER = ACME\n", installed=False)["refused"])
    assert "there is no such driver" in refused
