"""The pretended agents know every verb that the manager may use, and keep its rules."""

import pytest

from agent_fake import PretendAgents
from conpaassql import protocol
from conpaassql.errors import AgentError, Conflict, StaleTerm
from conpaassql.protocol import BY_NAME, VERBS, Caller, Data, Server, Shape, TaskState

SETUP = protocol.Setup(term=2, my_cnf="[mysqld]\nserver_id = 7\n")
PRIMARY = protocol.Peer(node=1, host="a")
OTHER = protocol.ReplicaAccount(name="conpaassql_repl_2", password_hash="*0", subject="")


@pytest.fixture
def agents() -> PretendAgents:
    """A primary ``a`` with one database, and an empty ``b``."""
    agents = PretendAgents()
    agents.boot("a", 1, "default")
    agents.boot("b", 2, "default")
    agents.call("a", "initialise", SETUP)
    agents.call("a", "open", protocol.Open(term=2, wait=False))
    agents.call("a", "create_database", protocol.Database(term=2, name="shop"))
    return agents


def test_every_call_of_the_manager_is_known() -> None:
    calls = {verb.name for verb in VERBS if verb.caller is Caller.MANAGER and verb.shape is Shape.CALL}
    assert {*PretendAgents().answers, "facts"} == calls


@pytest.mark.parametrize("verb", sorted(set(PretendAgents().answers)))
def test_who_is_cut_off_answers_nothing(agents: PretendAgents, verb: str) -> None:
    agents.cut.add("a")
    before = agents.state()
    with pytest.raises(AgentError):
        agents.call("a", verb, protocol.Empty())
    assert agents.state() == before
    assert set(agents.facts({1: "a", 2: "b"})) == {2}


@pytest.mark.parametrize("verb", ["stop", "create_database", "open"])
def test_an_older_term_is_refused(agents: PretendAgents, verb: str) -> None:
    requests = {"create_database": protocol.Database(term=1, name="x"), "open": protocol.Open(term=1, wait=False)}
    before = agents.state()
    with pytest.raises(StaleTerm):
        agents.call("a", verb, requests.get(verb, protocol.Order(term=1)))
    assert agents.state() == before


def test_a_clone_takes_its_time_and_follows_only_with_leave(agents: PretendAgents) -> None:
    agents.call("b", "clone", protocol.Clone(term=2, my_cnf=SETUP.my_cnf, source=PRIMARY))
    looks = [agents.facts({2: "b"})[2] for _ in range(3)]
    assert [facts.data for facts in looks] == [Data.COPYING, Data.READY, Data.READY]
    assert looks[1].server is Server.RUNNING
    assert looks[1].task
    assert looks[1].task.state is TaskState.DONE
    agents.call("b", "follow", protocol.Follow(term=2, source=PRIMARY, acknowledge=True))
    assert not _receiving(agents)
    agents.call("a", "grant", protocol.Grant(term=2, account=OTHER))
    assert _receiving(agents)
    agents.call("a", "create_database", protocol.Database(term=2, name="more"))
    mine, theirs = (agents.facts({1: "a", 2: "b"})[node].mysqld for node in (1, 2))
    assert mine
    assert theirs
    assert mine.executed == theirs.executed
    assert (mine.acknowledgers, theirs.acknowledging) == (1, True)


def _receiving(agents: PretendAgents) -> bool:
    server = agents.facts({2: "b"})[2].mysqld
    return bool(server and server.replica and server.replica.receiving)


def test_replies_are_of_the_verbs_type(agents: PretendAgents) -> None:
    asked = {
        "users": protocol.Empty(),
        "databases": protocol.Empty(),
        "log": protocol.Lines(),
        "facts": protocol.Empty(),
    }
    for verb, request in asked.items():
        assert isinstance(agents.call("a", verb, request), BY_NAME[verb].reply)


def test_a_closed_server_takes_no_writes(agents: PretendAgents) -> None:
    agents.call("a", "close", protocol.Close(term=2, timeout_s=1.0))
    with pytest.raises(Conflict):
        agents.call("a", "create_database", protocol.Database(term=2, name="late"))
