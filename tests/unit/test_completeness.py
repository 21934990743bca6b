"""What grows by a row has a partner somewhere: here the partners are held against each other."""

import inspect
from collections import Counter
from pathlib import Path

import pytest

import performers
from conpaassql import errors, protocol
from conpaassql.agent import server
from conpaassql.cluster import diagnose, jobs, steps
from conpaassql.manager import act
from conpaassql.model import JobKind
from conpaassql.protocol import Shape
from conpaassql.web.operations import BY_NAME, CALLS, OPERATIONS, Effect, Operation

DOCS = Path(__file__).parents[2] / "docs"


def test_every_step_is_performed() -> None:
    assert set(act.PERFORMERS) == set(steps.every())


def test_the_pretend_cluster_performs_every_step() -> None:
    assert set(performers.PERFORMERS) == set(steps.every())


@pytest.mark.parametrize("step", steps.every(), ids=lambda step: step.__name__)
def test_every_step_says_what_it_does_in_one_line(step: type[steps.Step]) -> None:
    assert step.__doc__ and "\n" not in step.__doc__  # the event log shows it


@pytest.mark.parametrize(
    ("shape", "functions"),
    [(Shape.CALL, server.CALLS), (Shape.DOWNLOAD, server.DOWNLOADS), (Shape.UPLOAD, server.UPLOADS)],
)
def test_every_verb_has_one_function(shape: Shape, functions: dict[str, object]) -> None:
    assert set(functions) == {verb.name for verb in protocol.VERBS if verb.shape is shape}


def test_verbs_are_told_apart() -> None:
    assert len(protocol.BY_NAME) == len(protocol.VERBS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_takes_its_parameters(operation: Operation) -> None:
    taken = inspect.signature(CALLS[operation.name]).parameters.values()
    by_name = {parameter.name for parameter in taken if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    assert by_name - {"chunks"} == {param.name for param in operation.params}
    assert ("chunks" in by_name) == (operation.effect is Effect.UPLOAD)


def test_operations_are_told_apart() -> None:
    assert set(CALLS) == {operation.name for operation in OPERATIONS}
    assert len(BY_NAME) == sum(1 + len(operation.spellings) for operation in OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_spellings_of_parameters_are_told_apart(operation: Operation) -> None:
    known = Counter(spelling for param in operation.params for spelling in param.spellings)
    assert all(count == 1 for count in known.values())
    assert not set(known) & set(operation.ignored)


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = [errors.Error, *_below(errors.Error)]
    assert len({kind.code for kind in kinds}) == len(kinds)


def _below(kind: type[errors.Error]) -> list[type[errors.Error]]:
    return [found for child in kind.__subclasses__() for found in (child, *_below(child))]


def test_the_page_on_errors_is_the_tree() -> None:
    assert (DOCS / "errors.md").read_text() == errors.reference()


def test_every_problem_has_a_code_of_its_own() -> None:
    assert len({problem.code for problem in diagnose.PROBLEMS}) == len(diagnose.PROBLEMS)


def test_the_page_on_diagnoses_is_the_table() -> None:
    assert (DOCS / "diagnoses.md").read_text() == diagnose.reference()


def test_every_kind_of_job_can_be_judged() -> None:
    assert set(jobs.HOLDS) == set(JobKind)
