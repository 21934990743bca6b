"""The driver's course of calls where a cloud is older, slower or fuller than the simulator."""

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conpaassql.errors import IaasError, Unsupported
from conpaassql.iaas import VmSpec
from conpaassql.iaas.opennebula import Driver, guest, lives, marks, template
from conpaassql.iaas.opennebula.guest import Told
from conpaassql.model import Flavor
from conpaassql.offers import Extras
from one_script import Answer, Raw, Refused, Script, scripted

FLAVOR = Flavor(cpu=1, memory_mib=512, disk_mib=1024)


def drive(script: Script, **options: str) -> Driver:
    login = {"OPENNEBULA_URL": script.url, "OPENNEBULA_USER": "conpaas", "OPENNEBULA_PASSWORD": "p"}
    return Driver({**login, "OPENNEBULA_IMAGE_ID": "0", "OPENNEBULA_NETWORK_ID": "0", **options}, "m")


def spec(**more: Any) -> VmSpec:
    return VmSpec(name="a-1", flavor=FLAVOR, tags={}, context={}, template="", **more)


def vm_xml(number: int, life: int = 0, *, vm_id: int = 7, name: str = "a-1", owner: str = "m") -> str:
    return (
        f"<VM><ID>{vm_id}</ID><NAME>{name}</NAME><STATE>{number}</STATE><LCM_STATE>{life}</LCM_STATE>"
        "<TEMPLATE><CPU>0.2</CPU><MEMORY>256</MEMORY><DISK><DISK_ID>0</DISK_ID><SIZE>1024</SIZE></DISK></TEMPLATE>"
        f"<USER_TEMPLATE><{marks.OWNER}>{owner}</{marks.OWNER}></USER_TEMPLATE></VM>"
    )


def pool_xml(*vms: str) -> str:
    return f"<VM_POOL>{''.join(vms)}</VM_POOL>"


def pools(*answers: str) -> dict[str, Any]:
    """A core whose pool is so at each look; the short form says more here than a real one does."""
    first, *others = answers
    return {"vmpool_infoextended": [*answers], "vmpool_info": [*others] or first, "vmpool_infoset": answers[-1]}


RUNNING, OFF, GOING_OFF = vm_xml(3, 3), vm_xml(8), vm_xml(3, 18)


class TestVersions:
    @pytest.mark.parametrize("version", ["5.10.4", "4.14.2"])
    def test_too_old(self, version: str) -> None:
        with scripted(system_version=version) as script, pytest.raises(Unsupported, match=r"use 5\.12 or later"):
            drive(script).create(spec())

    def test_asked_once(self) -> None:
        with scripted(system_version="7.4.0", **pools(pool_xml(RUNNING))) as script:
            driver = drive(script)
            assert [driver.create(spec()) for _ in range(3)] == ["7", "7", "7"]
        assert len(script.called("system.version")) == 1

    def test_a_size_of_a_running_vm_before_6(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lives, "_LOOK_PAUSE_S", 0.0)
        infos: list[Answer] = [RUNNING, GOING_OFF, OFF, OFF]
        with scripted(system_version="5.12.0", vm_info=[*infos], vm_action=7, vm_resize=7) as script:
            drive(script).resize("7", FLAVOR)
        changes = [(name, params[0]) for name, params in script.calls if name in ("vm.action", "vm.resize")]
        assert changes == [("vm.action", "poweroff"), ("vm.resize", 7), ("vm.action", "resume")]

    def test_a_size_of_a_running_vm_since_6(self) -> None:
        with scripted(system_version="6.0.0", vm_info=RUNNING, vm_resize=7) as script:
            drive(script).resize("7", FLAVOR)
        assert [name for name, _ in script.calls if name.startswith("vm.") and name != "vm.info"] == ["vm.resize"]

    def test_a_hypervisor_that_cannot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lives, "_LOOK_PAUSE_S", 0.0)
        no = Refused(code=2048, text="[one.vm.resize] Hotplug resize not supported by driver dummy")
        answers: list[Answer] = [no, 7]
        infos: list[Answer] = [RUNNING, OFF, OFF]
        with scripted(system_version="7.4.0", vm_info=[*infos], vm_action=7, vm_resize=[*answers]) as script:
            drive(script).resize("7", FLAVOR)
        assert [params[0] for params in script.called("vm.action")] == ["poweroff", "resume"]

    def test_a_size_that_is_refused_leaves_the_vm_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lives, "_LOOK_PAUSE_S", 0.0)
        full = Refused(code=2048, text="[one.vm.resize] Not enough CPU: 10000/800")
        infos: list[Answer] = [RUNNING, OFF, OFF]
        answers: dict[str, Any] = {"system_version": "5.12.0", "vm_info": [*infos], "vm_action": 7, "vm_resize": full}
        with scripted(**answers) as script, pytest.raises(IaasError, match="Not enough CPU"):
            drive(script).resize("7", FLAVOR)
        assert script.called("vm.action")[-1] == ("resume", 7)


class TestCreate:
    def script(self, **more: Any) -> Any:
        common = {"system_version": "7.4.0", "image_info": "<IMAGE><SIZE>512</SIZE></IMAGE>", "vm_action": 1}
        return scripted(**{**common, **more})

    def test_a_second_vm_of_the_name_is_sent_away(self) -> None:
        """Another manager of this name was at it in the same moment; the first asked for stays."""
        seen = pools(pool_xml(), pool_xml(vm_xml(1, vm_id=9), vm_xml(1, vm_id=8)))
        with self.script(**seen, vm_allocate=9) as script:
            assert drive(script).create(spec()) == "8"
        assert script.called("vm.action") == [("terminate-hard", 9)]

    def test_one_that_is_being_deleted_is_none(self) -> None:
        with self.script(**pools(pool_xml(vm_xml(3, 12)), pool_xml()), vm_allocate=9) as script:
            driver = drive(script)
            with pytest.raises(IaasError, match="still being deleted"):
                driver.create(spec())
            assert driver.create(spec()) == "9"

    def test_images_of_others_are_found_and_one_s_own_preferred(self) -> None:
        image = "<IMAGE><ID>{}</ID><UNAME>{}</UNAME><NAME>debian</NAME></IMAGE>"
        images = f"<IMAGE_POOL>{image.format(3, 'oneadmin')}{image.format(5, 'conpaas')}</IMAGE_POOL>"
        with self.script(**pools(pool_xml()), vm_allocate=9, imagepool_info=images) as script:
            drive(script).create(spec(image="debian"))
        ((text, hold),) = script.called("vm.allocate")
        whole = template.parse(str(text))
        assert template.first(whole.vectors("DISK")[0], "IMAGE_ID") == "5"
        assert hold is False

    def test_several_of_a_name_are_said(self) -> None:
        image = "<IMAGE><ID>{}</ID><UNAME>{}</UNAME><NAME>debian</NAME></IMAGE>"
        images = f"<IMAGE_POOL>{image.format(3, 'oneadmin')}{image.format(5, 'else')}</IMAGE_POOL>"
        answers = {**pools(pool_xml()), "imagepool_info": images}
        with self.script(**answers) as script, pytest.raises(IaasError, match="3 of oneadmin, 5 of else"):
            drive(script).create(spec(image="debian"))
        assert not script.called("vm.allocate")

    def test_a_disk_is_never_made_smaller_than_its_image(self) -> None:
        large = "<IMAGE><SIZE>4096</SIZE></IMAGE>"
        with self.script(**pools(pool_xml()), vm_allocate=9, image_info=large) as script:
            drive(script).create(spec())
        whole = template.parse(str(script.called("vm.allocate")[0][0]))
        assert template.first(whole.vectors("DISK")[0], "SIZE") == ""

    def test_a_group_that_may_not_be_made_prevents_no_vm(self, caplog: pytest.LogCaptureFixture) -> None:
        groups: dict[str, Any] = {
            "vmgrouppool_info": "<VM_GROUP_POOL/>",
            "vmgroup_allocate": Refused(code=512, text="User [2] : Not authorized to perform CREATE VMGROUP."),
        }
        with self.script(**pools(pool_xml()), vm_allocate=9, **groups) as script:
            driver = drive(script)
            for _ in range(2):
                driver.create(spec(extras=Extras(apart="c")))
        assert not template.parse(str(script.called("vm.allocate")[0][0])).has("VMGROUP")
        assert len([record for record in caplog.records if "may share a host" in record.getMessage()]) == 1

    def test_a_group_that_somebody_makes_at_the_same_moment(self) -> None:
        group = (
            f"<VM_GROUP_POOL><VM_GROUP><ID>0</ID><TEMPLATE><{marks.OWNER}>m</{marks.OWNER}>"
            f"<{marks.APART}>c</{marks.APART}></TEMPLATE></VM_GROUP></VM_GROUP_POOL>"
        )
        seen: list[Answer] = ["<VM_GROUP_POOL/>", group]
        taken = Refused(code=16384, text="NAME is already taken by VMGROUP 0.")
        with self.script(
            **pools(pool_xml()), vm_allocate=9, vmgrouppool_info=[*seen], vmgroup_allocate=taken
        ) as script:
            drive(script).create(spec(extras=Extras(apart="c")))
        whole = template.parse(str(script.called("vm.allocate")[0][0]))
        assert template.first(whole.vectors("VMGROUP")[0], "VMGROUP_ID") == "0"

    def test_a_group_that_still_counts_its_last_vm_is_deleted_later(self) -> None:
        """OpenNebula lists the VM no more a moment before it takes it out of its group."""
        group = (
            f"<VM_GROUP_POOL><VM_GROUP><ID>4</ID><ROLES><ROLE><NAME>node</NAME>{{}}</ROLE></ROLES><TEMPLATE>"
            f"<{marks.OWNER}>m</{marks.OWNER}></TEMPLATE></VM_GROUP></VM_GROUP_POOL>"
        )
        grouped = vm_xml(3, 3).replace("<DISK>", "<VMGROUP><VMGROUP_ID>4</VMGROUP_ID></VMGROUP><DISK>")
        seen: list[Answer] = [group.format("<VMS>7</VMS>"), group.format("")]
        gone: dict[str, Any] = {"vmgrouppool_info": [*seen], "vmgroup_delete": 4}
        with self.script(**pools(pool_xml(grouped), pool_xml(), pool_xml()), **gone) as script:
            driver = drive(script)
            asked = [(driver.list(), len(script.called("vmgroup.delete")))[1] for _ in range(4)]
        assert asked == [0, 0, 1, 1]
        assert script.called("vmgroup.delete") == [(4,)]

    def test_gateway_and_name_server_of_the_options(self) -> None:
        options = {"OPENNEBULA_NETWORK_GATEWAY": "10.30.1.1", "OPENNEBULA_NETWORK_NAMESERVER": "10.30.1.2"}
        with self.script(**pools(pool_xml()), vm_allocate=9) as script:
            drive(script, **options).create(spec())
        (card,) = template.parse(str(script.called("vm.allocate")[0][0])).vectors("NIC")
        assert template.flat(card) == {"NETWORK_ID": "0", "GATEWAY": "10.30.1.1", "DNS": "10.30.1.2"}

    def test_a_lost_reply_is_not_repeated(self) -> None:
        answers: dict[str, Any] = {**pools(pool_xml()), "vm_allocate": Raw(cut=True)}
        with self.script(**answers) as script, pytest.raises(IaasError):
            drive(script).create(spec())
        assert len(script.called("vm.allocate")) == 1


class TestGuest:
    def told(self, base: template.Pairs = (), **more: Any) -> dict[str, str]:
        return template.flat(guest.context(base, Told(**{"keys": {}, **more})))

    def test_ours_wins_and_theirs_stays(self) -> None:
        found = self.told((("A", "$NAME"), ("B", "1"), ("NETWORK", "NO")), keys={"B": "2"})
        assert found == {"A": "$NAME", "B": "2", "NETWORK": "NO"}

    @pytest.mark.parametrize("value", ["a $b", "$NAME", "]]>", "end\\", "bell\a"])
    def test_what_would_be_touched_is_base64(self, value: str) -> None:
        found = self.told(keys={"KEY": value})
        assert base64.b64decode(found["KEY_BASE64"]).decode() == value
        assert "KEY" not in found

    def test_scripts_follow_each_other(self) -> None:
        first = base64.b64encode(b"#!/bin/sh\necho first\n").decode()
        found = self.told((("START_SCRIPT_BASE64", first),), userdata="#!/bin/sh\necho $0\n", files={"/a b/c'd": "x"})
        script = base64.b64decode(found["START_SCRIPT_BASE64"]).decode()
        assert first in script
        assert script.index("/a b/c") < script.index(base64.b64encode(b"#!/bin/sh\necho $0\n").decode())
        assert script.startswith("#!/bin/sh\n")
        assert "USER_DATA" not in found

    def test_the_start_script_does_it_all(self, tmp_path: Path) -> None:
        where = tmp_path / "it's a folder"
        first = base64.b64encode(f"#!/bin/sh\necho first >>'{tmp_path}/log'\n".encode()).decode()
        found = self.told(
            (("START_SCRIPT_BASE64", first),),
            userdata=f"#!/bin/sh\nhome=user; echo $home >>'{tmp_path}/log'\n",
            files={f"{where}/motd": "cost: 5$ 'x'\n", f"{where}/empty": ""},
        )
        script = base64.b64decode(found["START_SCRIPT_BASE64"])
        subprocess.run(["/bin/sh"], input=script, check=True, env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)})
        assert (where / "motd").read_text() == "cost: 5$ 'x'\n"
        assert (where / "motd").stat().st_mode & 0o777 == 0o600
        assert (where / "empty").read_text() == ""
        assert sorted((tmp_path / "log").read_text().split()) == ["first", "user"]
        assert {path.name for path in tmp_path.iterdir()} == {"it's a folder", "log"}

    def test_file_images(self) -> None:
        found = self.told((("FILES_DS", "$FILE[IMAGE_ID=1]"),), images=(3, 4))
        assert found["FILES_DS"] == "$FILE[IMAGE_ID=1] $FILE[IMAGE_ID=3] $FILE[IMAGE_ID=4]"
