"""Units, appliance and templates of VMs: that they name what there is."""

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from conpaassql.packages import script

TOP = Path(__file__).parents[2]
APPLIANCE = TOP / "contrib" / "one-apps" / "appliance.sh"
STAGES = ("service_install", "service_configure", "service_bootstrap", "service_cleanup", "service_help")


def unit(role: str) -> ConfigParser:
    found = ConfigParser(interpolation=None, strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(script(f"conpaassql-{role}.service").decode())
    return found


@pytest.mark.parametrize("role", ["agent", "manager"])
class TestUnits:
    def test_it_starts_what_is_installed(self, role: str) -> None:
        service = unit(role)["Service"]
        program = service["ExecStart"].split()[0]
        assert program == f"/opt/conpaassql/bin/conpaassql-{role}"
        assert f"conpaassql-{role}=" in (TOP / "setup.py").read_text()
        assert service["ExecStartPre"] == f"+/opt/conpaassql/vm/init.sh {role} prepare"
        assert service["ExecCondition"] == f"+/opt/conpaassql/vm/init.sh {role} wanted"

    def test_its_file_is_the_one_that_init_writes(self, role: str) -> None:
        config = unit(role)["Service"]["ExecStart"].split()[-1]
        init = script("init.sh").decode()
        folder, name = config.rsplit("/", 1)
        assert (config if role == "manager" else folder) in init
        assert name in init

    def test_it_comes_back_but_not_with_a_wrong_configuration(self, role: str) -> None:
        service = unit(role)["Service"]
        assert service["Restart"] in ("always", "on-failure")
        assert service["RestartPreventExitStatus"] == "78"

    def test_it_runs_as_a_user_of_its_own_who_may_do_little(self, role: str) -> None:
        service = unit(role)["Service"]
        assert service["User"] == "conpaassql"
        assert service["ReadWritePaths"] == "/var/lib/conpaassql"
        strict = {"NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict"}
        assert {key: service[key] for key in strict} == strict
        assert "EnvironmentFile" not in service

    def test_contrib_has_the_same(self, role: str) -> None:
        name = f"conpaassql-{role}.service"
        assert (TOP / "contrib" / "systemd" / name).read_bytes() == script(name)


def test_the_agents_server_outlives_it() -> None:
    assert unit("agent")["Service"]["KillMode"] == "process"


class TestAppliance:
    def ask(self, program: str) -> str:
        text = f'msg() {{ :; }}; . "{APPLIANCE}"; {program}'
        return subprocess.run(["bash", "-euc", text], check=True, capture_output=True, text=True).stdout

    def test_it_has_every_stage(self) -> None:
        assert self.ask(f"declare -F {' '.join(STAGES)}").split() == list(STAGES)

    def test_its_parameters_are_as_sunstone_wants_them(self) -> None:
        words = self.ask('printf "%s\\n" "${ONE_SERVICE_PARAMS[@]}"').splitlines()
        rows = [words[i : i + 4] for i in range(0, len(words), 4)]
        text, readme = APPLIANCE.read_text(), (APPLIANCE.parent / "README.md").read_text()
        for name, stage, says, kind in rows:
            assert re.fullmatch(r"ONEAPP_CONPAASSQL_MANAGER_[A-Z0-9_]+", name)
            assert (stage, bool(says)) == ("configure", True)
            assert re.fullmatch(r"[OM]\|(text|text64|password|boolean)", kind)
            assert f"${{{name}:-" in text, name  # it is used
            assert f"`{name}`" in readme, name

    def test_a_manager_is_configured_from_them(self, tmp_path: Path) -> None:
        (tmp_path / "vm").mkdir()
        (tmp_path / "vm" / "init.sh").write_text('#!/bin/sh\necho "$@" $ONE_URL $AGENT_IMAGE_ID\n')
        (tmp_path / "vm" / "init.sh").chmod(0o755)
        values = "ONEAPP_CONPAASSQL_MANAGER_ONE_URL=http://x/ ONEAPP_CONPAASSQL_MANAGER_AGENT_IMAGE_ID=9"
        where = f"CONPAASSQL_VM={tmp_path}/vm"
        told = f"{where} ONEAPP_CONPAASSQL_MANAGER_ENABLED=YES {values} service_configure"
        assert self.ask(told) == "manager prepare http://x/ 9\n"
        assert self.ask(f"{where} service_configure") == ""
