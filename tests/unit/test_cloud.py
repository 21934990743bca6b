"""The pure parts of the drivers for OpenStack and EC2: tags, choices, faults, states, what a VM is told."""

import email
import gzip
import json
import subprocess
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conpaassql.errors import (
    IaasBusy,
    IaasDenied,
    IaasError,
    IaasFull,
    IaasMissing,
    IaasQuota,
    IaasRefused,
    Unsupported,
)
from conpaassql.iaas.ec2 import instances
from conpaassql.iaas.openstack import servers
from conpaassql.libcloudvm import choose, cloudinit, faults, marks
from conpaassql.model import Flavor, VmSpec, VmState
from conpaassql.offers import BlockDevice, Extras, Nic, OfferedFlavor

ODD = {"node": "1", "odd": "a'b\"c\n$X `id` é \\ {{ x }} ]]>", "": "", "Ä ö": "ü", "long": " x" * 400}

CONTEXT = {"CONPAASSQL_NODE": "7", "ODD": ODD["odd"], "START_SCRIPT_BASE64": "ZWNobyBoaQo="}


def parts(text: str) -> list[Message]:
    archive = email.message_from_string(text)
    return list(archive.get_payload())


def body(part: Message) -> str:
    return part.get_payload(decode=True).decode()


def spec(**more: object) -> VmSpec:
    given_: dict[str, object] = {"name": "a-1", "flavor": Flavor(), "tags": {}, "context": {}, "template": "", **more}
    return VmSpec(**given_)  # type: ignore[arg-type]


class TestTags:
    @given(st.dictionaries(st.text(), st.text(), max_size=6))
    def test_they_come_back(self, tags: dict[str, str]) -> None:
        kept = marks.packed("me", "a-1", tags, {})
        assert marks.tags(kept) == tags
        assert all(len(value) <= 255 and value.isascii() and value == value.strip() for value in kept.values())

    def test_no_blank_is_at_a_cut(self) -> None:
        kept = marks.packed("me", "a-1", {"a": " " * 1000}, {})
        assert len(kept) > 5
        assert all(value == value.strip() for value in kept.values())

    def test_meta_and_labels_stand_beside_them(self) -> None:
        kept = {**marks.packed("me", "a-1", ODD, {"team": "blue"}), **marks.labelled({"role": "primary"})}
        assert (kept[marks.OWNER], kept[marks.NAME], kept["team"]) == ("me", "a-1", "blue")
        assert marks.labels(kept) == {"role": "primary"}
        assert marks.tags(kept) == ODD

    @pytest.mark.parametrize("meta", [{"Conpaassql_owner": "x"}, {"": "x"}, {"k": "x" * 256}])
    def test_meta_that_cannot_be_kept(self, meta: Mapping[str, str]) -> None:
        with pytest.raises(IaasRefused):
            marks.packed("me", "a-1", {}, meta)

    def test_tags_that_somebody_has_spoilt_are_none(self) -> None:
        assert marks.tags({"conpaassql_tags_0": '{"a":'}) == {}


class TestChoice:
    FLAVORS = (
        OfferedFlavor(id="1", name="tiny", vcpus=1, ram_mib=256, disk_gib=5),
        OfferedFlavor(id="2", name="wide", vcpus=8, ram_mib=512, disk_gib=10),
        OfferedFlavor(id="3", name="small", vcpus=1, ram_mib=512, disk_gib=10),
        OfferedFlavor(id="4", name="twin", vcpus=1, ram_mib=4096),
        OfferedFlavor(id="5", name="twin", vcpus=1, ram_mib=4096),
    )

    def test_the_smallest_that_is_large_enough(self) -> None:
        assert choose.fitting(self.FLAVORS, Flavor()).id == "3"
        assert choose.fitting(self.FLAVORS, Flavor(memory_mib=600, disk_mib=10**9)).id == "4"
        with pytest.raises(IaasMissing, match="no flavor"):
            choose.fitting(self.FLAVORS, Flavor(cpu=9))

    def test_by_id_or_by_name(self) -> None:
        assert choose.named("flavor", self.FLAVORS, "5").name == "twin"
        assert choose.named("flavor", self.FLAVORS, "small").id == "3"
        with pytest.raises(IaasRefused, match="4, 5"):
            choose.named("flavor", self.FLAVORS, "twin")
        with pytest.raises(IaasMissing, match="huge"):
            choose.named("flavor", self.FLAVORS, "huge")


class TestFaults:
    @pytest.mark.parametrize(
        ("status", "text", "kind"),
        [
            (401, "The request you have made requires authentication.", IaasDenied),
            (403, "Policy doesn't allow os_compute_api:servers:create to be performed.", IaasDenied),
            (403, "Quota exceeded for cores: Requested 4, but already used 20 of 20 cores", IaasQuota),
            (413, "Quota exceeded for instances", IaasQuota),
            (413, "This request was rate-limited.", IaasBusy),
            (429, "Too many requests", IaasBusy),
            (409, "Quota exceeded for resources: ['floatingip'].", IaasQuota),
            (409, "No more IP addresses available on network 3f.", IaasFull),
            (409, "Cannot 'stop' instance 3f while it is in vm_state stopped", IaasBusy),
            (400, "Image 3f could not be found.", IaasMissing),
            (400, "Invalid key_name provided.", IaasMissing),
            (400, "Flavor's disk is too small for requested image.", IaasRefused),
            (404, "Instance 3f could not be found.", IaasMissing),
            (500, "No valid host was found. There are not enough hosts available.", IaasFull),
            (500, "Unexpected API Error.", IaasError),
            (418, "", IaasRefused),
        ],
    )
    def test_openstack(self, status: int, text: str, kind: type[IaasError]) -> None:
        assert type(faults.of_status("OPENSTACK", status, text)) is kind

    @pytest.mark.parametrize(
        ("word", "kind"),
        [
            ("AuthFailure", IaasDenied),
            ("UnauthorizedOperation", IaasDenied),
            ("RequestLimitExceeded", IaasBusy),
            ("InstanceLimitExceeded", IaasQuota),
            ("VcpuLimitExceeded", IaasQuota),
            ("AddressLimitExceeded", IaasQuota),
            ("InsufficientInstanceCapacity", IaasFull),
            ("InsufficientFreeAddressesInSubnet", IaasFull),
            ("IncorrectInstanceState", IaasBusy),
            ("IncorrectState", IaasBusy),
            ("InvalidSnapshot.InUse", IaasBusy),
            ("IdempotentParameterMismatch", IaasBusy),
            ("InvalidAMIID.NotFound", IaasMissing),
            ("InvalidAMIID.Malformed", IaasMissing),
            ("InvalidKeyPair.NotFound", IaasMissing),
            ("InvalidInstanceID.NotFound", IaasMissing),
            ("InternalError", IaasError),
            ("InvalidParameterValue", IaasRefused),
        ],
    )
    def test_ec2(self, word: str, kind: type[IaasError]) -> None:
        found = faults.of_word("EC2", 400, word, "text")
        assert type(found) is kind
        assert found.details["word"] == word

    def test_what_a_cloud_repeats_of_the_request_stays_out(self) -> None:
        text = "Invalid input for field/attribute user_data. Value: SGVsbG8=. too long"
        assert "SGVsbG8" not in faults.scrubbed(text)
        assert "pass word" not in faults.scrubbed("user x, pass word y", "pass word")
        assert "A" * 60 not in faults.scrubbed("token " + "A" * 90)
        assert len(faults.scrubbed("x y " * 1000)) < 320


class TestUserData:
    def test_the_context_is_what_a_shell_reads(self, tmp_path: Path) -> None:
        hook, start = parts(cloudinit.user_data(CONTEXT))
        assert hook.get_content_type() == "text/cloud-boothook"
        assert start.get_content_type() == "text/x-shellscript"
        script = body(hook).replace("/run/conpaassql", str(tmp_path))
        subprocess.run(["sh", "-c", script], check=True)
        written = tmp_path / "context.sh"
        assert written.stat().st_mode & 0o777 == 0o600
        read = subprocess.run(
            ["sh", "-c", '. "$0"; printf %s "$ODD"', str(written)], capture_output=True, check=True, text=True
        )
        assert read.stdout == ODD["odd"]

    def test_the_start_script_runs_with_the_context(self, tmp_path: Path) -> None:
        context = {"START_SCRIPT_BASE64": "cHJpbnRmICVzICIkQ09OUEFBU1NRTF9DT05URVhUIgo="}  # prints CONPAASSQL_CONTEXT
        for part in parts(cloudinit.user_data(context)):
            script = body(part).replace("/run/conpaassql", str(tmp_path))
            done = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
        assert done.stdout == f"{tmp_path}/context.sh"

    def test_a_plain_machine_is_told_what_its_user_says(self) -> None:
        assert cloudinit.user_data({}, "#!/bin/sh\nid\n") == "#!/bin/sh\nid\n"
        assert cloudinit.user_data({}) == ""

    def test_everything_at_once(self) -> None:
        text = cloudinit.user_data(CONTEXT, "#cloud-config\nhostname: x\n", {"/etc/x y": "é\n"}, 512)
        kinds = [part.get_content_type() for part in parts(text)]
        assert kinds == ["text/cloud-boothook", "text/x-shellscript", "text/cloud-config", "text/cloud-config"]
        config = json.loads(body(parts(text)[2]).removeprefix("#cloud-config\n"))
        (file,) = config["write_files"]
        assert (file["path"], file["content"], file["encoding"]) == ("/etc/x y", "w6kK", "b64")
        assert config["swap"]["size"] == 512 * 1024 * 1024

    def test_the_same_vm_is_always_told_the_same(self) -> None:
        assert cloudinit.user_data(CONTEXT) == cloudinit.user_data(CONTEXT)

    def test_what_is_too_large_is_compressed_or_refused(self) -> None:
        assert cloudinit.within("x", 1) == b"x"
        assert gzip.decompress(cloudinit.within("x" * 1000, 100)) == b"x" * 1000
        with pytest.raises(IaasRefused, match="the cloud takes 10"):
            cloudinit.within("x" * 1000, 10)

    @pytest.mark.parametrize("context", [{"a b": "c"}, {"A": "\0"}, {"A;id": "c"}])
    def test_a_context_that_is_none(self, context: Mapping[str, str]) -> None:
        with pytest.raises(IaasRefused):
            cloudinit.user_data(context)


class TestServers:
    @pytest.mark.parametrize(
        ("status", "task", "state"),
        [
            ("BUILD", "", VmState.PENDING),
            ("BUILD", "scheduling", VmState.PENDING),
            ("BUILD", "spawning", VmState.BOOTING),
            ("ACTIVE", "", VmState.RUNNING),
            ("ACTIVE", "powering-off", VmState.RUNNING),
            ("ACTIVE", "deleting", VmState.DELETING),
            ("ERROR", "deleting", VmState.DELETING),
            ("ERROR", "", VmState.FAILED),
            ("SHUTOFF", "", VmState.STOPPED),
            ("VERIFY_RESIZE", "", VmState.RUNNING),
            ("A_NEW_ONE", "", VmState.UNKNOWN),
        ],
    )
    def test_states(self, status: str, task: str, state: VmState) -> None:
        assert servers.state(status, task) is state

    def test_addresses(self) -> None:
        fixed6 = {"addr": "fd00::1", "version": 6, "OS-EXT-IPS:type": "fixed"}
        fixed4 = {"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed"}
        floating = {"addr": "203.0.113.9", "version": 4, "OS-EXT-IPS:type": "floating"}
        assert servers.addresses({"addresses": {"n": [fixed6, floating, fixed4]}}) == ("10.0.0.5", "203.0.113.9")
        assert servers.addresses({"addresses": {"n": [fixed6]}}) == ("fd00::1", None)
        assert servers.addresses({}) == (None, None)

    def test_a_failure_says_why_and_one_that_is_over_does_not(self) -> None:
        fault = {"message": "No valid host was found."}
        failed = {"id": "1", "name": "a", "status": "ERROR", "metadata": {}, "fault": fault}
        assert servers.vm(failed).message == "No valid host was found."
        assert servers.vm(failed | {"status": "ACTIVE"}).message == ""

    def test_every_extra_reaches_the_order(self) -> None:
        extras = Extras(
            availability_zone="az1",
            key_name="key",
            nics=(Nic(port="p-1"),),
            userdata="#!/bin/sh\n",
            swap_mib=256,
            block_devices=(
                BlockDevice(device="vdb", size_gib=5),
                BlockDevice(device="", source="volume", id="v1", keep=True),
            ),
            hints={"different_host": "h"},
            meta={"team": "blue"},
            files={"/a": "b"},
        )
        choice = servers.Choice(
            image="i", flavor="f", networks=({"port": "p-1"},), key_name="key", security_groups=("g",), group="grp"
        )
        order = servers.order(spec(extras=extras, tags={"a": "b"}), "me", choice)
        server = order["server"]
        assert order["os:scheduler_hints"] == {"different_host": "h", "group": "grp"}
        assert server["availability_zone"] == "az1"
        assert server["key_name"] == "key"
        assert server["networks"] == [{"port": "p-1"}]
        assert server["security_groups"] == [{"name": "g"}]
        assert server["metadata"]["team"] == "blue"
        first, blank, volume, swap = server["block_device_mapping_v2"]
        assert (first["source_type"], first["uuid"], first["boot_index"]) == ("image", "i", 0)
        assert (blank["device_name"], blank["volume_size"], blank["delete_on_termination"]) == ("/dev/vdb", 5, True)
        assert (volume["source_type"], volume["uuid"], volume["delete_on_termination"]) == ("volume", "v1", False)
        assert (swap["guest_format"], swap["volume_size"]) == ("swap", 256)

    def test_what_nova_has_not(self) -> None:
        for extras in (Extras(data_disk_mib=1), Extras(block_devices=(BlockDevice(device="vdb", source="tape"),))):
            with pytest.raises(Unsupported):
                servers.refuse(extras)


class TestInstances:
    CHOICE = instances.Choice(image="ami-1", root_device="/dev/xvda", root_gib=8, flavor="t3.micro")

    def test_every_state_of_ec2_is_known(self) -> None:
        assert set(instances.STATES) == {*instances.THERE, "terminated"}
        assert instances.vm({"instanceId": "i-1", "instanceState": {"name": "new"}}).state is VmState.UNKNOWN

    def test_a_vm_that_stops_is_not_down_yet(self) -> None:
        assert instances.vm({"instanceId": "i-1", "instanceState": {"name": "stopping"}}).state is VmState.UNKNOWN

    def test_the_first_disk_has_the_size_that_was_asked_for_and_goes_with_the_vm(self) -> None:
        order = instances.order(spec(flavor=Flavor(disk_mib=20481)), "me", self.CHOICE)
        assert order["BlockDeviceMapping.1.DeviceName"] == "/dev/xvda"
        assert order["BlockDeviceMapping.1.Ebs.VolumeSize"] == 21
        assert order["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
        assert (
            instances.order(spec(flavor=Flavor(disk_mib=1024)), "me", self.CHOICE)[
                "BlockDeviceMapping.1.Ebs.VolumeSize"
            ]
            == 8
        )

    def test_tags_are_part_of_the_order(self) -> None:
        order = instances.order(spec(tags=ODD), "me", self.CHOICE)
        kept = {
            str(order[f"TagSpecification.1.Tag.{number}.Key"]): str(order[f"TagSpecification.1.Tag.{number}.Value"])
            for number in range(1, 20)
            if f"TagSpecification.1.Tag.{number}.Key" in order
        }
        assert (kept["Name"], kept[marks.OWNER]) == ("a-1", "me")
        assert marks.tags(kept) == ODD

    def test_a_turn_is_told_from_another(self) -> None:
        tokens = {instances.token(*what) for what in (("me", "a", 0), ("me", "a", 1), ("mea", "", 0), ("you", "a", 0))}
        assert len(tokens) == 4
        assert instances.token("me", "a", 0) in tokens
        assert all(len(token) == 64 for token in tokens)  # the longest that EC2 takes

    def test_cards(self) -> None:
        choice = instances.Choice(
            image="ami-1",
            root_device="/dev/xvda",
            root_gib=8,
            flavor="t3.micro",
            nics=(Nic(network="subnet-1", address="10.0.0.9"), Nic(port="eni-1")),
            group_ids=("sg-1",),
        )
        order = instances.order(spec(), "me", choice)
        assert order["NetworkInterface.1.SubnetId"] == "subnet-1"
        assert order["NetworkInterface.1.PrivateIpAddress"] == "10.0.0.9"
        assert order["NetworkInterface.1.SecurityGroupId.1"] == "sg-1"
        assert order["NetworkInterface.2.NetworkInterfaceId"] == "eni-1"
        assert "SecurityGroupId.1" not in order  # EC2 refuses both

    @pytest.mark.parametrize(
        "extras",
        [
            Extras(data_disk_mib=1),
            Extras(public_nics=(Nic(network="x"),)),
            Extras(public_network="internet"),
            Extras(hints={"different_host": "x"}),
            Extras(block_devices=(BlockDevice(device="sdf", source="volume", id="vol-1"),)),
        ],
    )
    def test_what_ec2_has_not(self, extras: Extras) -> None:
        with pytest.raises(Unsupported):
            instances.refuse(extras)
