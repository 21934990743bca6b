"""The tree of errors is the table that faces and documents are built from."""

import inspect

import pytest

from conpaassql import errors
from conpaassql.errors import AgentError, Error


def every() -> list[type[Error]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Error)]


def test_every_code_is_unique_and_in_the_tree() -> None:
    assert errors.tree() == {kind.code: kind for kind in every()}
    assert len({kind.code for kind in every()}) == len(every())


@pytest.mark.parametrize("kind", every())
def test_every_error_stands_in_the_drawing(kind: type[Error]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__doc__
    assert 400 <= kind.status < 600
    assert kind.code == kind.code.lower().replace("_", "-")


@pytest.mark.parametrize("kind", every())
def test_the_wire_brings_every_error_back(kind: type[Error]) -> None:
    rebuilt = errors.from_wire(kind.code, "It went wrong.", {"node": 1, "hosts": ["a"]})
    assert type(rebuilt) is kind
    assert (rebuilt.says, str(rebuilt)) == ("It went wrong.", "It went wrong.")
    assert rebuilt.details == {"node": 1, "hosts": ["a"]}


@pytest.mark.parametrize("code", ["", "newer", "Invalid", "__init__"])
def test_an_unknown_code_is_the_agents_fault(code: str) -> None:
    assert type(errors.from_wire(code, "What?", {})) is AgentError


def test_only_what_a_retry_can_help_says_so() -> None:
    assert {kind.code for kind in every() if kind.retry} == {
        kind.code
        for kind in every()
        if issubclass(kind, errors.Unavailable) and not issubclass(kind, errors.IaasRefused)
    }
