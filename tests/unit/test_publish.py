"""What a manager's VM is made from."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from conpaassql import VERSION, packages, publish
from conpaassql.errors import ConfigError
from conpaassql.manager import bootstrap

WHEEL = f"conpaassql-{VERSION}-py3-none-any.whl"


def written(folder: Path, url: str = "https://www.example.org/c/", image: str = "193", network: str = "private") -> str:
    publish.publish(folder, url, image, network)
    return (folder / publish.TEMPLATE).read_text()


def attribute(template: str, name: str) -> str:
    (found,) = re.findall(rf'\b{name} *= "((?!M\|)[^"]*)"', template)
    return str(found)


def test_the_template_names_what_lies_beside_it(tmp_path: Path) -> None:
    template = written(tmp_path)
    assert attribute(template, "CONPAASSQL_PACKAGE") == f"https://www.example.org/c/{WHEEL}"
    wanted = hashlib.sha256((tmp_path / WHEEL).read_bytes()).hexdigest()
    assert attribute(template, "CONPAASSQL_PACKAGE_SHA256") == wanted
    script = packages.script(packages.INSTALL_SCRIPT)
    assert (tmp_path / "conpaassql-install.sh").read_bytes() == script
    start = base64.b64decode(attribute(template, "START_SCRIPT_BASE64"))
    assert start == bootstrap.start_script(script, "manager")
    assert attribute(template, "IMAGE_ID") == "193"
    assert 'NIC      = [ NETWORK = "private" ]' in template
    assert attribute(template, "CONPAASSQL_ROLE") == "manager"


def test_every_input_is_asked_for_and_handed_on(tmp_path: Path) -> None:
    """init.sh reads them by the names of 2012."""
    template = written(tmp_path)
    asked = set(re.findall(r'(\w+) += "M\|', template))
    assert asked == set(attribute(template, "INPUTS_ORDER").split(","))
    init = packages.script("init.sh").decode()
    for name in asked:
        assert attribute(template, name) == f"${name}"
        assert re.search(rf"\$\{{?{name}\b", init)


def test_without_an_address_the_wheel_is_on_the_cd(tmp_path: Path) -> None:
    assert attribute(written(tmp_path, url=""), "CONPAASSQL_PACKAGE") == WHEEL


@pytest.mark.parametrize("value", ['1", CPU = "64', "a\nb", "$USER[TEMPLATE]", "a\\"])
def test_nothing_breaks_out_of_the_template(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError):
        written(tmp_path, network=value)


def test_as_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([str(tmp_path / "p"), "--image", "1", "--network", "2"]) == 0
    assert (tmp_path / "p" / WHEEL).stat().st_mode & 0o777 == 0o644
    (tmp_path / "f").write_text("")
    assert publish.main([str(tmp_path / "f" / "p"), "--image", "1", "--network", "2"]) == 1
    assert "/f" in capsys.readouterr().err


def test_a_folder_that_was_there_stays_as_private_as_it_was(tmp_path: Path) -> None:
    private, new = tmp_path / "private", tmp_path / "new"
    private.mkdir(mode=0o700)
    for folder in (private, new):
        written(folder)
    assert [folder.stat().st_mode & 0o777 for folder in (private, new)] == [0o700, 0o755]
    assert (private / WHEEL).stat().st_mode & 0o777 == 0o644
