"""The command line ``conpaassql``: words to requests, answers to tables and exit statuses."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from conpaassql.client import asking, command, command_page, options, passwords, state
from conpaassql.client.ends import End
from conpaassql.errors import Invalid
from pretended import HOST, Pretended, Reply, Seen, ok, pretended, refusal

PAGE = Path(__file__).parents[2] / "docs" / "provisioning.md"
UUID = "9f3d9729-f220-11e3-adbb-b86b23dc9477"
TIMES = {"created_at": "2026-01-01T00:00:00+00:00", "deadline_at": "2026-01-01T00:01:00+00:00", "ended_at": None}
JOB = {"id": 4, "kind": "machine_create", "progress": 0.5, "code": "", "says": "", **TIMES}
MACHINE = {
    "uuid": UUID,
    "vm_id": "7",
    "state": "RUNNING",
    "addresses": ["10.0.0.7"],
    "public_address": None,
    "av_zone": "a:b",
    "says": "",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the command away from what this machine's user has."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONPAASSQL_URL", "CONPAASSQL_TOKEN_FILE", "CONPAASSQL_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONPAASSQL_TOKEN", "the-token")
    monkeypatch.setattr(state, "SYSTEM", tmp_path / "none")
    return tmp_path


def run(server: Pretended, *arguments: str) -> int:
    return command.main(["--manager", f"{HOST}:{server.port}", *arguments])


def says_yes(seen: Seen) -> Reply:
    """Answer as a manager whose every list is empty and whose every order is done at once."""
    lists = ("providers", "machines", "images", "flavors", "networks", "findings")
    return ok({name: [] for name in lists})


def asked(*arguments: str) -> tuple[str, dict[str, Any]]:
    """Return the method and parameters that a command line asks for."""
    with pretended(says_yes) as server:
        assert run(server, *arguments) == End.DONE
    (seen,) = server.seen
    return seen.call["method"], seen.call["params"]


# --- words to requests -----------------------------------------------------------------------------

REGISTERED = {"provider_id": "p", "username": "u", "password": "x", "url": "http://l:5000/v2.0", "synchronous": False}
NO_WAIT = {"synchronous": False}
CREATED = {"provider_id": "p", "number_machines": 1, "skip_store": False, "wait_spawning": True, "synchronous": False}


@pytest.mark.parametrize(
    ("line", "method", "values"),
    [
        ("provider register p u x http://l:5000/v2.0", "provider_register", REGISTERED),
        ("provider register p u x http://l:5000/v2.0 t", "provider_register", REGISTERED | {"tenant": "t"}),
        (
            "provider register --provider_type=EC2 --default_image i --default-flavor=f --extra region=west "
            "--extra token=a=b p u x http://l:5000/v2.0",
            "provider_register",
            REGISTERED
            | {"provider_type": "EC2", "default_image": "i", "default_flavor": "f"}
            | {"extra": {"region": "west", "token": "a=b"}},
        ),
        (
            "provider update p --password x --tenant= --extra region=west --extra token=",
            "provider_update",
            {"provider_id": "p", "password": "x", "tenant": "", "extra": {"region": "west", "token": ""}}
            | {"synchronous": False},
        ),
        (
            "provider update --default_image=i p",
            "provider_update",
            {"provider_id": "p", "default_image": "i"} | NO_WAIT,
        ),
        ("provider unregister p --synchronous=0", "provider_unregister", {"provider_id": "p", "synchronous": False}),
        ("provider list", "provider_list", {}),
        ("provider list --provider_id p", "provider_list", {"provider_id": "p"}),
        ("image list p", "image_list", {"provider_id": "p"}),
        ("flavor list p", "flavor_list", {"provider_id": "p"}),
        ("network list p", "network_list", {"provider_id": "p"}),
        ("check provider", "check_provider", {"provider_id": "default"}),
        ("check provider p", "check_provider", {"provider_id": "p"}),
        ("machine create p", "machine_create", CREATED),
        (
            "machine create p --image mindisk=1 --image name=a=b --flavor vcpus=2 --number_machines=3 "
            "--availability_zone z --key_name k --security_groups a,b --private_network n --public_network o "
            "--swap 512 --block_device vdb=4711:volume:10:1 --block-device vdc=:blank:5 --scheduler_hints h=1 "
            "--meta m=1 --meta n= --skip_store --wait_spawning=no",
            "machine_create",
            CREATED
            | {"image": {"mindisk": "1", "name": "a=b"}, "flavor": {"vcpus": "2"}, "number_machines": 3}
            | {"availability_zone": "z", "key_name": "k", "security_groups": "a,b", "swap": 512}
            | {"private_network": "n", "public_network": "o", "scheduler_hints": {"h": "1"}}
            | {"block_device": ["vdb=4711:volume:10:1", "vdc=:blank:5"], "meta": {"m": "1", "n": ""}}
            | {"skip_store": True, "wait_spawning": False},
        ),
        (
            "server create p --private_nics net-id=n,v4-fixed-ip=10.0.0.9 --public-nics port-id=q",
            "machine_create",
            CREATED | {"private_nics": ["net-id=n,v4-fixed-ip=10.0.0.9"], "public_nics": ["port-id=q"]},
        ),
        (
            f"machine destroy p {UUID} --force",
            "machine_destroy",
            {"provider_id": "p", "machine_uuid": UUID, "skip_store": False, "force": True, "synchronous": False},
        ),
        ("machine list --skip_store p", "machine_list", {"provider_id": "p", "skip_store": True}),
        (
            "server list p --skip-store true --generic_filters state=running --meta-filters a=b",
            "machine_list",
            {
                "provider_id": "p",
                "skip_store": True,
                "generic_filters": {"state": "running"},
                "meta_filters": {"a": "b"},
            },
        ),
        (
            f"snapshot create p {UUID} --wait_spawning false",
            "snapshot_create",
            {
                "provider_id": "p",
                "machine_uuid": UUID,
                "skip_store": False,
                "wait_spawning": False,
                "synchronous": False,
            },
        ),
        (
            f"snapshot destroy p {UUID}",
            "snapshot_destroy",
            {"provider_id": "p", "machine_uuid": UUID, "skip_store": False, "synchronous": False},
        ),
    ],
)
def test_words_make_a_request(line: str, method: str, values: dict[str, Any]) -> None:
    assert asked(*line.split()) == (method, values)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "provider nonsense",
        "provider register p u x",
        "provider register p/q u x http://l",
        "provider register p u x http://l --extra region",
        "provider list p",
        "machine create",
        "machine create p --image name",
        "machine create p --image name=a --image name=b",
        "machine create p --image colour=red",
        "machine create p --flavor medium",
        "machine create p --number_machines -1",
        "machine create p --number_machines many",
        "machine create p --meta a",
        "machine create p --meta --force",
        "machine create p --meta MySQL-Fabric-group=1",
        "machine create p --scheduler_hints a",
        "machine create p --userdata /none/userdata",
        "machine create p --files /etc/motd=/none/motd",
        "machine create p --skip_store=perhaps",
        "machine destroy p",
        "machine destroy p 7",
        "machine list p --colour",
        "snapshot create p",
        "job show 0",
        "job list --provider_id=p --cluster=c",
    ],
)
def test_wrong_words_are_refused_before_anything_is_sent(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(says_yes) as server:
        assert run(server, *line.split()) == End.USAGE
    assert server.seen == []
    told = capsys.readouterr()
    assert told.out == ""
    sentence = told.err.splitlines()[-1]
    assert sentence.startswith("conpaassql: ")
    assert sentence.endswith(" [invalid]")


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        (["--force"], ["--force=true"]),
        (["--force", "p"], ["--force=true", "p"]),
        (["--force", "no", "p"], ["--force=no", "p"]),
        (["--skip_store", "TRUE"], ["--skip_store=TRUE"]),
        (["--synchronous=0"], ["--synchronous=0"]),
        (["--", "--force", "no"], ["--", "--force", "no"]),
        (["--meta", "a=1"], ["--meta", "a=1"]),
    ],
)
def test_an_option_of_yes_or_no_stands_alone_or_with_a_value(given: list[str], spelled: list[str]) -> None:
    assert options.spelled(given) == spelled


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, found_command in group.commands.items():
        if isinstance(found_command, click.Group):
            yield from commands(found_command, (*path, name))
        else:
            yield (*path, name), found_command


COMMANDS = dict(commands(command.root))
METHODS = {path: "_".join(path) for path in COMMANDS if path[0] != "job"} | {
    ("check", "provider"): "check_provider",
    ("job", "list"): "list_jobs",
}


@pytest.mark.parametrize("path", METHODS, ids="-".join)
def test_a_command_takes_all_that_its_operation_takes(path: tuple[str, ...]) -> None:
    method = METHODS[path].replace("server_", "machine_")
    taken = {str(param.name) for param in COMMANDS[path].params}
    known = {param.name for param in asking.BY_NAME[method].params}
    assert taken - {"manager", "as_json", "name"} == known - ({"provider_id"} if "name" in taken else set())


def test_every_operation_on_clouds_has_a_command() -> None:
    groups = ("provider", "machine", "snapshot", "check", "image", "flavor", "network")
    wanted = {name for name in asking.BY_NAME if name.partition("_")[0] in groups}
    assert wanted - set(METHODS.values()) == set()


@pytest.mark.parametrize("path", COMMANDS, ids="-".join)
def test_help_explains_every_option_and_needs_no_manager(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*path, "--help"]) == End.DONE
    shown = capsys.readouterr().out
    for param in COMMANDS[path].params:
        assert param.human_readable_name.upper() in shown or param.opts[0] in shown
        assert not isinstance(param, click.Option) or param.help
    assert COMMANDS[path].help


def test_the_page_on_provisioning_is_that_of_the_commands() -> None:
    assert PAGE.read_text() == command_page.reference()


def test_every_option_of_yes_or_no_may_stand_alone() -> None:
    for found_command in COMMANDS.values():
        for param in found_command.params:
            assert (param.metavar == "[yes|no]") == (param.opts[0] in options.YES_NO)


@pytest.mark.parametrize("arguments", [[], ["machine"]])
def test_without_a_command_the_help_is_shown_and_the_usage_is_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == End.USAGE
    assert "Commands:" in capsys.readouterr().err


# --- files and passwords ---------------------------------------------------------------------------


def test_userdata_and_files_are_read_here_and_sent_as_text(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n\u00e9cho\n")
    (tmp_path / "motd").write_text("welcome")
    script, motd = f"--userdata={tmp_path}/script", f"/etc/motd={tmp_path}/motd"
    _, values = asked("machine", "create", "p", script, "--files", motd, "--file", f"/etc/issue={tmp_path}/motd")
    assert values["userdata"] == "#!/bin/sh\n\u00e9cho\n"
    assert values["files"] == {"/etc/motd": "welcome", "/etc/issue": "welcome"}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (options.MOST_BYTES + 1), b"x" * 65536])
def test_a_file_that_cannot_be_sent(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(content)
    with pretended(says_yes) as server:
        assert run(server, "machine", "create", "p", "--userdata", str(tmp_path / "script")) == End.USAGE
    assert server.seen == []


def register(password: str) -> tuple[str, ...]:
    return ("provider", "register", "p", "u", password, "http://l:5000/v2.0")


def test_a_password_on_the_command_line_is_taken_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(*register("s3cret"))[1]["password"] == "s3cret"
    told = capsys.readouterr()
    assert "can see a password" in told.err
    assert "s3cret" not in told.out + told.err


def test_a_password_comes_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word\nmore\n"))
    assert asked(*register("-"))[1]["password"] == "pass word"
    assert capsys.readouterr().err == ""


def test_a_new_password_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word\n"))
    assert asked("provider", "update", "p", "--password=-")[1]["password"] == "pass word"


@pytest.mark.parametrize("text", ["pass word", "pass word\n", "pass word\r\n"])
def test_a_password_comes_from_a_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "password").write_bytes(text.encode())
    assert asked(*register(f"@{tmp_path}/password"))[1]["password"] == "pass word"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"\xff", b"x" * (passwords.MOST_BYTES + 1), None])
def test_a_file_that_holds_no_password(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    with pretended(says_yes) as server:
        assert run(server, *register(f"@{tmp_path}/password")) == End.USAGE
    assert server.seen == []
    assert str(tmp_path / "password") in capsys.readouterr().err


@pytest.mark.parametrize(("word", "typed"), [("-", ""), ("-", "\n"), ("", "x\n")])
def test_no_password_at_all(word: str, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    with pytest.raises(Invalid):
        passwords.read(word)


# --- answers ---------------------------------------------------------------------------------------


def machines(*found_machines: dict[str, Any]) -> Reply:
    return ok({"machines": list(found_machines)})


def test_a_list_is_a_plain_table(capsys: pytest.CaptureFixture[str]) -> None:
    more = {**MACHINE, "addresses": ["10.0.0.8", "10.0.0.9"], "public_address": "192.0.2.1"}
    with pretended(lambda _seen: machines(MACHINE, more)) as server:
        assert run(server, "machine", "list", "p") == End.DONE
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["UUID", "VM", "STATE", "ADDRESSES", "PUBLIC", "ZONE", "SAYS"],
        [UUID, "7", "RUNNING", "10.0.0.7", "-", "a:b", "-"],
        [UUID, "7", "RUNNING", "10.0.0.8,10.0.0.9", "192.0.2.1", "a:b", "-"],
    ]


@pytest.mark.parametrize("words", [("machine", "list", "p", "-j"), ("--json", "machine", "list", "p")])
def test_json_is_the_answer_as_it_came(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(lambda _seen: machines(MACHINE)) as server:
        assert run(server, *words) == End.DONE
    assert json.loads(capsys.readouterr().out) == {"machines": [MACHINE]}


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([("credentials", True)], End.DONE),
        ([("credentials", True), ("image", False)], End.REFUSED),
        ([], End.DONE),
    ],
)
def test_a_check_lists_findings_with_cures(
    findings: list[tuple[str, bool]], status: End, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [
        {"code": code, "ok": fine, "says": f"About {code}.", "cure": "Do it.", "fatal": False}
        for code, fine in findings
    ]
    with pretended(lambda _seen: ok({"findings": shown})) as server:
        assert run(server, "check", "provider", "p") == status
        lines = capsys.readouterr().out.splitlines()
        assert run(server, "check", "provider", "p", "--json") == status
    assert [line.split()[:2] for line in lines if "->" not in line] == [
        ["RESULT", "CHECK"],
        *(["ok" if fine else "WRONG", code] for code, fine in findings),
    ]
    assert sum("-> Do it." in line for line in lines) == sum(not fine for _, fine in findings)
    assert json.loads(capsys.readouterr().out) == {"findings": shown}


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (refusal("provider"), End.REFUSED),
        (refusal("invalid"), End.REFUSED),
        (refusal("unavailable"), End.REFUSED),
        (refusal("unknown-method", 404), End.REFUSED),
        (refusal("unauthorized", 401), End.NO_LOGIN),
        (Reply(b"<html>hello</html>", 502), End.UNREACHABLE),
        (ok([]), End.UNREACHABLE),
    ],
)
def test_the_exit_status_is_honest(reply: Reply, status: End, capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(lambda _seen: reply) as server:
        assert run(server, "provider", "list") == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("conpaassql: ")
    assert told.err.count("\n") == 1


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(says_yes) as server:
        pass
    assert run(server, "provider", "list") == End.UNREACHABLE
    monkeypatch.delenv("CONPAASSQL_TOKEN")
    assert run(server, "provider", "list") == End.UNREACHABLE
    assert "There is no manager" in capsys.readouterr().err


def test_the_reader_of_a_table_may_go_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pretended(lambda _seen: machines(MACHINE)) as server:
        words = [f"--manager={HOST}:{server.port}", "machine", "list", "p"]
        program = [sys.executable, "-P", "-m", "conpaassql.client.command", *words]
        try:
            done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=20.0, check=False)
        finally:
            os.close(writer)
    assert (done.returncode, done.stderr) == (End.REFUSED, "")


# --- jobs ------------------------------------------------------------------------------------------


def with_job(*states: str, says: str = "") -> Callable[[Seen], Reply]:
    """Answer an order with a job that goes through ``states``; at the end it knows more of its machine."""
    left = iter(states)
    code = "machine" if says else ""

    def answer(seen: Seen) -> Reply:
        if seen.call["method"] == "get_job":
            return ok({"job": {**JOB, "state": next(left), "code": code, "says": says, "machines": [MACHINE]}})
        early = [{"uuid": UUID, "state": "PENDING"}]
        return ok({"job": {**JOB, "state": "running", "machines": early}, "machines": early}, job=4)

    return answer


def methods(server: Pretended) -> Sequence[str]:
    return [seen.call["method"] for seen in server.seen]


def test_an_order_is_followed_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(with_job("running", "done")) as server:
        assert run(server, "machine", "destroy", "p", UUID) == End.DONE
    assert methods(server) == ["machine_destroy", "get_job", "get_job"]
    told = capsys.readouterr()
    assert told.out == f"Machine {UUID} is destroyed.\n"
    assert told.err == ""  # no bar where there is no terminal


def test_the_machines_are_listed_as_they_are_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(with_job("done", "done")) as server:
        assert run(server, "machine", "create", "p") == End.DONE
        assert capsys.readouterr().out.splitlines()[1].split() == [UUID, "7", "RUNNING", "10.0.0.7", "-", "a:b", "-"]
        assert run(server, "machine", "create", "p", "--json") == End.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["machines"], told["job"]["state"]) == ([MACHINE], "done")


def test_a_job_that_did_not_do_all_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    says = "machine-7 may still run there."
    with pretended(with_job("done", says=says)) as server:
        assert run(server, "machine", "destroy", "p", UUID, "--force") == End.DONE
    assert (capsys.readouterr()) == ("", f"conpaassql: {says} [machine]\n")


def test_an_order_that_is_not_waited_for_says_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(with_job()) as server:
        assert run(server, "snapshot", "create", "p", UUID, "--synchronous=no") == End.DONE
        assert capsys.readouterr().out == "Job 4 has begun; conpaassql job show 4 tells how it goes.\n"
        assert run(server, "snapshot", "create", "p", UUID, "--synchronous=no", "-j") == End.DONE
        told = json.loads(capsys.readouterr().out)
        assert run(server, "machine", "create", "p", "--synchronous=no") == End.DONE
    assert methods(server) == ["snapshot_create", "snapshot_create", "machine_create"]
    assert (told["job"]["id"], told["job"]["state"]) == (4, "running")
    shown = capsys.readouterr()
    assert shown.err == "Job 4 has begun; conpaassql job show 4 tells how it goes.\n"
    assert shown.out.splitlines()[1].split()[:3] == [UUID, "-", "PENDING"]


def test_a_failed_job_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(with_job("failed", "failed", says="No host is left.")) as server:
        assert run(server, "machine", "create", "p") == End.REFUSED
        told = capsys.readouterr()
        assert (told.out, told.err) == ("", "conpaassql: The job failed: No host is left. [machine]\n")
        assert run(server, "machine", "create", "p", "-j") == End.REFUSED
    assert json.loads(capsys.readouterr().out)["job"]["says"] == "No host is left."


def test_jobs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(lambda _seen: ok({"jobs": [{**JOB, "state": "done"}]})) as server:
        for words in ([], ["--provider_id", "p"], ["--cluster", "c"]):
            assert run(server, "job", "list", *words) == End.DONE
            assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["4", "machine_create", "done"]
    assert [seen.call.get("params", {}) for seen in server.seen] == [{}, {"provider_id": "p"}, {"cluster": "c"}]


@pytest.mark.parametrize(("ended", "status"), [("done", End.DONE), ("failed", End.REFUSED)])
def test_a_job_is_shown(ended: str, status: End, capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(with_job("running", "running", ended)) as server:
        assert run(server, "job", "show", "4") == End.DONE
        assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["4", "machine_create", "running", "50%"]
        assert run(server, "job", "show", "4", "--wait") == status
    assert capsys.readouterr().out.splitlines()[1].split()[2] == ended


@pytest.mark.parametrize(
    "words",
    [("command", "--manager={place}", "machine", "create", "p"), ("manager", HOST, "{port}", "add_nodes", "--wait")],
)
def test_on_a_terminal_a_bar_shows_what_keeps_a_job(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Below it, whole: eighty columns have no room for both."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    says = "node 4 is booting (Cannot dispatch VM: [bold]No hosts[/] enabled to run VMs\x1b[2J)"
    shown = threading.Event()

    def answer(seen: Seen) -> Reply:
        if seen.call["method"] == "get_job":
            return with_job("done" if shown.is_set() else "running", says=says)(seen)
        return with_job()(seen)

    terminal, theirs = pty.openpty()
    with pretended(answer) as server:
        module, *rest = (word.format(place=f"{HOST}:{server.port}", port=server.port) for word in words)
        program = [sys.executable, "-P", "-m", f"conpaassql.client.{module}", *rest]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=theirs) as process:
            os.close(theirs)
            try:
                read_until(terminal, b"VM: [bold]No hosts[/] enabled to run \r\nVMs\\x1b[2J)")
                shown.set()
                read_until(terminal, b"job 4 machine_create done")
                assert process.wait(20.0) == End.DONE
            finally:
                process.kill()
                os.close(terminal)


def read_until(terminal: int, wanted: bytes) -> None:
    """Read what a terminal shows until it has shown ``wanted``, for 20 seconds at most."""
    deadline, seen = time.monotonic() + 20.0, b""
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(terminal, 65536)


def test_ctrl_c_ends_the_waiting_and_says_the_jobs_number() -> None:
    followed = threading.Event()

    def answer(seen: Seen) -> Reply:
        if seen.call["method"] == "get_job":
            followed.set()
        return with_job("running")(seen)

    with pretended(answer) as server:
        words = [f"--manager={HOST}:{server.port}", "machine", "create", "p"]
        program = [sys.executable, "-P", "-m", "conpaassql.client.command", *words]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert followed.wait(20.0)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20.0)
            finally:
                process.kill()
    assert process.returncode == End.INTERRUPTED
    assert (out, err) == ("", "conpaassql: Job 4 goes on; conpaassql job show 4 tells how it went.\n")
