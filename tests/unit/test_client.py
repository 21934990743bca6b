"""Command-line clients: words to requests, requests to HTTP, answers to output and exit statuses."""

import io
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from conpaassql import catalog, protocol
from conpaassql.client import agent, demo_place, manager, state, wire, words
from conpaassql.client.ends import End
from conpaassql.errors import ConfigError, Invalid, Unauthorized
from conpaassql.web import forms, operations
from pretended import HOST, Pretended, Reply, Seen, ok, pretended, refusal


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the clients away from what this machine's user has."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONPAASSQL_URL", "CONPAASSQL_TOKEN_FILE", "CONPAASSQL_CA", "CONPAASSQL_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONPAASSQL_TOKEN", "the-token")
    return tmp_path


def run(server: Pretended, *arguments: str) -> int:
    return manager.main([HOST, str(server.port), *arguments])


# --- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "method", "values"),
    [
        ("list_nodes", "list_nodes", {}),
        ("list_nodes cluster=shop", "list_nodes", {"cluster": "shop"}),
        ("add_node agent", "add_nodes", {"function": "agent"}),
        ("add_nodes agent", "add_nodes", {"function": "agent"}),
        ("add_nodes agent 3", "add_nodes", {"function": "agent", "count": "3"}),
        ("add_nodes 3", "add_nodes", {"count": "3"}),
        ("add_nodes slaves=3", "add_nodes", {"count": "3"}),
        ("delete_nodes 1815", "remove_nodes", {"node": "1815"}),
        ("remove_nodes id 7", "remove_nodes", {"node": "7"}),
        ("remove_nodes count 2", "remove_nodes", {"count": "2"}),
        ("remove_nodes 7 force=true", "remove_nodes", {"node": "7", "force": "true"}),
        ("get_node_info 7", "get_node_info", {"node": "7"}),
        ("get_node_info serviceName=7", "get_node_info", {"node": "7"}),
        ("get_service_info 7", "get_service_info", {"serviceNodeId": "7"}),
        ("shutdown 7", "shutdown", {"serviceNodeId": "7"}),
        ("configure_user 7 u p", "configure_user", {"node": "7", "username": "u", "password": "p"}),
        ("configure_user all u a=b", "configure_user", {"node": "all", "username": "u", "password": "a=b"}),
        ("configure_user u p", "configure_user", {"username": "u", "password": "p"}),
        (
            "configure_user all u p 10.% a,b",
            "configure_user",
            {"node": "all", "username": "u", "password": "p", "host": "10.%", "databases": "a,b"},
        ),
        ("delete_user all u", "delete_user", {"node": "all", "username": "u"}),
        ("delete_user u", "delete_user", {"username": "u"}),
        ("set_password u p", "set_password", {"username": "u", "password": "p"}),
        ("get_all_users", "get_users", {}),
        ("set_up_replica_master 7", "set_up_replica_master", {"node": "7"}),
        (
            "set_up_replica_slave id=7 master_host=10.0.0.1 master_log_file=f master_log_pos=4 slave_server_id=9",
            "set_up_replica_slave",
            {
                "node": "7",
                "master_host": "10.0.0.1",
                "master_log_file": "f",
                "master_log_pos": "4",
                "slave_server_id": "9",
            },
        ),
        ("getLog", "getLog", {}),
        ("get_log 5", "getLog", {"lines": "5"}),
        ("set_server_configuration a=1 b=x", "set_server_configuration", {"options": {"a": "1", "b": "x"}}),
        (
            'set_server_configuration options={"a":1} cluster=shop',
            "set_server_configuration",
            {"options": {"a": 1}, "cluster": "shop"},
        ),
        ("delete_cluster shop force=yes", "delete_cluster", {"cluster": "shop", "force": "yes"}),
        ("get_job 4", "get_job", {"job": "4"}),
    ],
)
def test_words_make_a_request(line: str, method: str, values: dict[str, Any]) -> None:
    verb, *rest = line.split()
    request = words.read(verb, rest)
    assert (request.row.name, request.values) == (method, values)


@pytest.mark.parametrize(
    ("line", "file", "values"),
    [
        ("sqldump", "-", {}),
        ("sqldump all.sql databases=a,b", "all.sql", {"databases": "a,b"}),
        ("load_dump d.sql", "d.sql", {}),
        ("send_mysqldump all d.sql", "d.sql", {"node": "all"}),
        ("create_with_MySQLdump file=-", "-", {}),
    ],
)
def test_words_name_the_file_of_a_stream(line: str, file: str, values: dict[str, Any]) -> None:
    verb, *rest = line.split()
    request = words.read(verb, rest)
    assert (request.file, request.values) == (file, values)


@pytest.mark.parametrize(
    "line",
    [
        "nodes",
        "get_node_info",
        "get_node_info 1 2",
        "get_node_info x",
        "get_node_info 7 node=8",
        "get_node_info id=7 node=8",
        "add_nodes many 3 4",
        "add_nodes agent none",
        "configure_user u",
        "load_dump",
        "set_server_configuration",
        "set_server_configuration options=[",
        "list_nodes cluster=UPPER",
        "remove_nodes 1 force=perhaps",
        "startup shop",
    ],
)
def test_wrong_words_are_refused(line: str) -> None:
    verb, *rest = line.split()
    with pytest.raises(Invalid):
        words.read(verb, rest)


@pytest.mark.parametrize("verb", [row.name for row in catalog.ROWS if "serviceNodeId" in row.ignored])
@pytest.mark.parametrize("word", ["shop", "serviceNodeId=shop", "id=shop"])
def test_a_cluster_in_the_place_of_an_ignored_id_is_not_dropped(
    verb: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pretended(lambda _seen: ok({})) as server:
        assert run(server, verb, word) == End.USAGE
    assert server.seen == []
    assert "say cluster=shop" in capsys.readouterr().err


@pytest.mark.parametrize("row", catalog.ROWS, ids=lambda row: row.name)
def test_every_verb_is_in_the_help_with_every_parameter(row: catalog.Row) -> None:
    usage = words.usage(row)
    assert usage.removeprefix("Usage: ") in manager.overview()
    assert row.says in manager.overview()
    for param in row.params:
        assert param.name in usage.lower() or "option=value" in usage.lower()


def test_every_row_of_the_catalog_has_its_function() -> None:
    assert set(operations.CALLS) == {row.name for row in catalog.ROWS}
    assert set(operations.BY_NAME) == set(words.BY_VERB)


# --- against a manager -----------------------------------------------------------------------------


def test_a_result_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(lambda _seen: ok({"serviceNode": [1, 2]})) as server:
        assert run(server, "list_nodes") == End.DONE
    assert capsys.readouterr().out == '{"serviceNode": [1, 2]}\n'
    assert server.seen[0].call == {"method": "list_nodes", "params": {}, "id": 1}
    assert server.seen[0].authorization == "Bearer the-token"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (refusal("conflict"), End.REFUSED),
        (refusal("unavailable"), End.REFUSED),
        (refusal("unknown-method", 404), End.REFUSED),
        (refusal("unauthorized", 401), End.NO_LOGIN),
        (refusal("forbidden", 403), End.REFUSED),
        (Reply(b"<html>hello</html>", 502), End.UNREACHABLE),
        (Reply(b"[]"), End.UNREACHABLE),
        (Reply(b"", 302, {"Location": "http://127.43.0.9/"}), End.UNREACHABLE),
    ],
)
def test_the_exit_status_is_honest(reply: Reply, status: End, capsys: pytest.CaptureFixture[str]) -> None:
    with pretended(lambda _seen: reply) as server:
        assert run(server, "list_nodes") == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("run-manager-client.sh: ")
    assert told.err.count("\n") == 1


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        assert manager.main([HOST, str(bound.getsockname()[1]), "list_nodes"]) == End.UNREACHABLE
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], [HOST], [HOST, "x", "list_nodes"], [HOST, "50200", "nonsense"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert manager.main(arguments) == End.USAGE


def test_help_needs_no_manager(capsys: pytest.CaptureFixture[str]) -> None:
    assert manager.main(["--help"]) == End.DONE
    assert "passwords on a command line" in capsys.readouterr().out


def test_a_password_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word\n"))
    with pretended(lambda _seen: ok({})) as server:
        assert run(server, "set_password", "u", "-") == End.DONE
    assert server.seen[0].call["params"] == {"username": "u", "password": "pass word"}


def test_a_proxy_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.43.0.9:1/")
    with pretended(lambda _seen: ok({})) as server:
        assert run(server, "list_nodes") == End.DONE


@pytest.mark.parametrize(("ended", "status"), [("done", End.DONE), ("failed", End.REFUSED)])
def test_wait_follows_the_job(ended: str, status: End, capsys: pytest.CaptureFixture[str]) -> None:
    times = {"created_at": "2026-01-01T00:00:00+00:00", "deadline_at": "2026-01-01T00:01:00+00:00"}
    job = {"id": 4, "kind": "add_nodes", "progress": 0.5, "code": "timeout", "says": "It took too long.", **times}
    states = iter(("running", ended))

    def answer(seen: Seen) -> Reply:
        if seen.call["method"] == "get_job":
            return ok({"job": {**job, "state": next(states)}})
        return ok({"result": "OK"}, job=4)

    with pretended(answer) as server:
        assert run(server, "add_nodes", "2", "--wait") == status
    assert [seen.call["params"] for seen in server.seen] == [{"count": "2"}, {"job": 4}, {"job": 4}]
    told = capsys.readouterr()
    assert json.loads(told.out) == {"job": {**job, "state": ended}}
    assert ("It took too long." in told.err) == (status == End.REFUSED)


def test_an_upload_is_a_form_that_the_manager_understands(tmp_path: Path) -> None:
    dump = tmp_path / "d.sql"
    dump.write_bytes(b"SELECT 1;\r\n--x" * 100_000)
    with pretended(lambda _seen: ok({})) as server:
        assert run(server, "send_mysqldump", "all", str(dump)) == End.DONE
    form = server.seen[-1]
    upload = forms.Upload(form.content_type, iter([form.body]))
    assert upload.fields == {"method": "load_dump", "id": "1", "node": "all"}
    assert upload.file_field == "mysqldump_file"
    assert b"".join(upload.chunks()) == dump.read_bytes()


def test_an_upload_without_login_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / "d.sql").write_bytes(b"x")
    with pretended(lambda _seen: refusal("unauthorized", 401)) as server:
        assert run(server, "load_dump", str(tmp_path / "d.sql")) == End.NO_LOGIN
    assert len(server.seen) == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pretended(lambda _seen: ok({})) as server:
        assert run(server, "load_dump", str(tmp_path / "none")) == End.USAGE
    assert server.seen == []


def test_a_download_is_a_private_file(tmp_path: Path) -> None:
    dump = Reply(b"SELECT 1;" * 100_000, headers={"Content-Type": "application/sql"})
    with pretended(lambda _seen: dump) as server:
        assert run(server, "sqldump", str(tmp_path / "d.sql")) == End.DONE
    assert (tmp_path / "d.sql").read_bytes() == dump.body
    assert stat.S_IMODE((tmp_path / "d.sql").stat().st_mode) == 0o600


def test_half_a_download_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "d.sql").write_text("older")
    broken = Reply(b"SELECT", headers={"Content-Type": "application/sql"}, promised=100)
    with pretended(lambda _seen: broken) as server:
        assert run(server, "sqldump", str(tmp_path / "d.sql")) == End.UNREACHABLE
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("d.sql", "older")]


def test_a_refused_download_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "d.sql").write_text("older")
    with pretended(lambda _seen: refusal("conflict")) as server:
        assert run(server, "sqldump", str(tmp_path / "d.sql")) == End.REFUSED
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("d.sql", "older")]


# --- finding a manager -----------------------------------------------------------------------------


def _announce(home: Path, name: str) -> Path:
    folder = home / ".conpaassql" / name
    folder.mkdir(parents=True)
    (folder / "admin.token").write_text(f"token-of-{name}\n")
    (folder / "ca.pem").write_text("authority")
    return folder


def test_the_token_of_a_local_manager_is_found(home: Path) -> None:
    folder = _announce(home, "127.0.0.1_50200")
    for host in ("127.0.0.1", "localhost"):
        door = state.door(host, 50200, {})
        assert (door.url, door.token) == (f"http://{host}:50200/", "token-of-127.0.0.1_50200")
        assert door.loopback
        assert door.ca == folder / "ca.pem"


def test_a_foreign_host_is_asked_over_tls(home: Path) -> None:
    folder = _announce(home, "192.0.2.1_50200")
    door = state.door("192.0.2.1", 50200, {})
    assert (door.url, door.ca) == ("https://192.0.2.1:50200/", folder / "ca.pem")
    assert not door.loopback


@pytest.mark.parametrize(
    ("name", "host", "said", "url"),
    [
        ("127.0.0.1_50200", "127.0.0.1", "https://127.0.0.1:50200\n", "https://127.0.0.1:50200/"),
        ("127.0.0.1_50200", "localhost", "https://db.example:50200", "https://localhost:50200/"),
        ("192.0.2.1_50200", "192.0.2.1", "http://192.0.2.1:50200", "http://192.0.2.1:50200/"),
        ("0.0.0.0_50200", "127.0.0.1", "https://192.0.2.1:50200", "https://127.0.0.1:50200/"),
        ("0.0.0.0_50200", "192.0.2.1", "http://192.0.2.9:50200", "https://192.0.2.1:50200/"),  # another machine?
        ("127.0.0.1_50200", "127.0.0.1", "https://127.0.0.1:50201", "http://127.0.0.1:50200/"),
        ("127.0.0.1_50200", "127.0.0.1", "https://[", "http://127.0.0.1:50200/"),
        ("127.0.0.1_50200", "127.0.0.1", "", "http://127.0.0.1:50200/"),
    ],
)
def test_a_manager_says_itself_how_it_is_spoken_to(
    name: str, host: str, said: str, url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "SYSTEM", home / "none")
    folder = _announce(home, name)
    (folder / "url").write_text(said)
    assert state.door(host, 50200, {"CONPAASSQL_TOKEN": "t"}).url == url
    assert state.door(host, 50200, {"CONPAASSQL_TOKEN": "t", "CONPAASSQL_URL": "http://x/"}).url == "http://x/"


def test_the_machines_manager_says_it_for_its_own_port(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SYSTEM", _announce(home, "system"))
    (state.SYSTEM / "url").write_text("https://db.example:50200\n")
    assert state.door("127.0.0.1", 50200, {}).url == "https://127.0.0.1:50200/"
    assert state.door("127.0.0.1", 50201, {}).url == "http://127.0.0.1:50201/"


def test_a_token_is_not_sent_in_clear_to_a_manager_that_it_may_not_belong_to(home: Path) -> None:
    _announce(home, "0.0.0.0_50200")
    assert state.door("192.0.2.1", 50200, {}).token == "token-of-0.0.0.0_50200"
    with pytest.raises(Unauthorized):
        state.door("192.0.2.1", 50200, {"CONPAASSQL_URL": "http://192.0.2.1:50200/"})


def test_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    named = {
        "CONPAASSQL_TOKEN_FILE": str(tmp_path / "token"),
        "CONPAASSQL_CA": str(tmp_path / "token"),
        "CONPAASSQL_URL": "https://x/",
    }
    door = state.door("127.0.0.1", 50200, named)
    assert (door.url, door.token, door.ca) == ("https://x/", "from-file", tmp_path / "token")
    assert state.door("127.0.0.1", 50200, {**named, "CONPAASSQL_TOKEN": "direct"}).token == "direct"
    assert "direct" not in repr(state.door("127.0.0.1", 50200, {"CONPAASSQL_TOKEN": "direct"}))


def test_a_token_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONPAASSQL_TOKEN")
    monkeypatch.setenv("CONPAASSQL_TOKEN_FILE", str(tmp_path / "none"))
    assert manager.main([HOST, "50200", "list_nodes"]) == End.USAGE


@pytest.mark.parametrize(("name", "value"), [("CONPAASSQL_CA", "/none"), ("CONPAASSQL_TOKEN", "t\u00f6k\u20acn")])
def test_an_environment_that_cannot_be_used(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert manager.main([HOST, "50200", "list_nodes"]) == End.USAGE


def test_no_token_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("CONPAASSQL_TOKEN")
    monkeypatch.setattr(state, "SYSTEM", tmp_path / "none")
    with pretended(lambda _seen: ok({})) as server:
        assert manager.main([HOST, str(server.port), "list_nodes"]) == End.NO_LOGIN
    assert manager.main([HOST, str(server.port), "list_nodes"]) == End.UNREACHABLE
    assert "There is no manager" in capsys.readouterr().err


def test_the_form_reads_its_file_in_pieces() -> None:
    pieces = list(wire.form("b", {"method": "m"}, "f", io.BytesIO(b"x" * (wire.CHUNK_BYTES * 2 + 1))))
    assert max(map(len, pieces)) == wire.CHUNK_BYTES


# --- the demo's place ---------------------------------------------------------------------------------


def test_a_place_too_long_for_sockets_gives_way_to_one_that_is_found_again(tmp_path: Path) -> None:
    wanted = tmp_path / ("x" * 100)
    with demo_place.taken(wanted) as place:
        assert place.root == demo_place.fallback(wanted)
        assert stat.S_IMODE(place.root.stat().st_mode) == 0o700
        place.token.parent.mkdir()
    with demo_place.taken(wanted) as place:  # cleared
        assert [file.name for file in place.root.iterdir()] == [".conpaassql-demo"]
        demo_place.remove(place)
    assert not place.root.exists()
    assert demo_place.fallback(tmp_path / ("y" * 100)) != place.root


def test_a_link_in_tmp_is_not_followed(tmp_path: Path) -> None:
    wanted = tmp_path / ("x" * 100)
    found = demo_place.fallback(wanted)
    found.symlink_to(tmp_path)
    try:
        with pytest.raises(ConfigError), demo_place.taken(wanted):
            pass
    finally:
        found.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_tmp_that_others_may_enter_is_not_taken(tmp_path: Path) -> None:
    wanted = tmp_path / ("x" * 100)
    found = demo_place.fallback(wanted)
    found.mkdir()
    found.chmod(0o755)
    try:
        with pytest.raises(ConfigError), demo_place.taken(wanted):
            pass
    finally:
        found.rmdir()


# --- the agent's client ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [("get_server_state", "facts"), ("get_all_users", "users"), ("stop_server", "stop"), ("facts", "facts")],
)
def test_verbs_of_2012_are_known_to_the_agents_client(old: str, new: str) -> None:
    assert agent.find(old).name == new


def test_an_order_takes_the_agents_term() -> None:
    assert agent.order(protocol.BY_NAME["stop"], {}, 7) == protocol.Order(term=7)
    assert agent.order(protocol.BY_NAME["stop"], {"term": 9}, 7) == protocol.Order(term=9)
    assert agent.order(protocol.BY_NAME["facts"], {}, 7) == protocol.Empty()
    wanted = protocol.Verify(term=7, source=protocol.Peer(node=2, host="10.0.0.2"))
    assert agent.order(protocol.BY_NAME["verify"], {"source": {"node": 2, "host": "10.0.0.2"}}, 7) == wanted


@pytest.mark.parametrize(
    ("verb", "given"),
    [("start", {}), ("create_database", {}), ("facts", {"x": 1}), ("open", {"wait": "x"}), ("verify", {"source": {}})],
)
def test_an_order_that_does_not_fit_is_refused(verb: str, given: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        agent.order(protocol.BY_NAME[verb], given, 1)


def test_every_verb_is_in_the_agents_help() -> None:
    assert all(verb.says in agent.overview() for verb in protocol.VERBS)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], End.USAGE),
        (["--help"], End.DONE),
        ([HOST, "60000", "--help"], End.DONE),
        ([HOST, "60000", "facts", "-h"], End.DONE),
        ([HOST, "60000"], End.USAGE),
        ([HOST, "60000", "nonsense"], End.USAGE),
        ([HOST, "60000", "facts", "["], End.USAGE),
    ],
)
def test_words_of_the_agents_client(arguments: list[str], status: End) -> None:
    assert agent.main(arguments) == status


def test_no_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "SYSTEM", tmp_path / "none")
    assert agent.main([HOST, "60000", "facts"]) == End.NO_LOGIN
