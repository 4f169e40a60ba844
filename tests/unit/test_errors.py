"""Every error of the tree: its message, its remedy, and that it survives JSON and pickle."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator

import pytest

from tasks.config.remedies import FILE_REMEDIES, explained
from tasks.stage.retry_policy import POLICIES, retry_plan
from tasks.transfer import errors
from tests.helpers.error_examples import EXAMPLES, SHOWN


def tree(cls: type[errors.UploadError] = errors.UploadError) -> Iterator[type[errors.UploadError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


def leaves() -> list[type[errors.UploadError]]:
    own = [cls for cls in tree() if cls.__module__ == errors.__name__]
    return [cls for cls in own if not set(cls.__subclasses__()) & set(own)]


each_error = pytest.mark.parametrize("cls", leaves(), ids=lambda cls: cls.__name__)


def example(cls: type[errors.UploadError]) -> errors.UploadError:
    return cls(*EXAMPLES[cls][0])


def test_every_error_of_the_tree_has_an_example_here() -> None:
    assert set(leaves()) == set(EXAMPLES)


def test_every_error_is_retryable_or_fatal_and_in_the_docstring() -> None:
    for cls in leaves():
        assert issubclass(cls, errors.RetryableError) != issubclass(cls, errors.FatalError)
        assert f"── {cls.__name__} " in str(errors.__doc__)


@each_error
def test_an_error_names_what_which_why_and_next_on_one_line(cls: type[errors.UploadError]) -> None:
    message = explained(example(cls))

    for fact in EXAMPLES[cls][1]:
        assert fact in message
    assert len(message.splitlines()) == 1


@each_error
def test_the_transfer_library_names_no_setting_or_command(cls: type[errors.UploadError]) -> None:
    foreign = re.compile(r"FARMHAUL_|FTRACK_|--|farmhaul (?!tries|has|sends|reads)[a-z]")

    assert not foreign.search(str(example(cls)))


@pytest.mark.parametrize("cls", [errors.FileRefusedError, errors.FileNotReadyError])
def test_a_file_fault_has_its_remedy_and_other_reasons_none(
    cls: type[errors.FileRefusedError | errors.FileNotReadyError],
) -> None:
    for fault, remedy in FILE_REMEDIES.items():
        assert explained(cls("/a", "why", fault)).endswith(f"; {remedy}")
    assert explained(cls("/a", "why")) == str(cls("/a", "why"))


def test_an_error_from_elsewhere_is_its_own_explanation() -> None:
    assert explained(ValueError("no such version")) == "no such version"


@each_error
def test_an_error_is_rebuilt_from_its_arguments_in_json(
    cls: type[errors.UploadError],
) -> None:
    error = example(cls)

    rebuilt = cls(*json.loads(json.dumps(error.args)))

    assert (rebuilt.args, str(rebuilt), vars(rebuilt)) == (error.args, str(error), vars(error))


@each_error
def test_an_error_survives_pickling(cls: type[errors.UploadError]) -> None:
    error = example(cls)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is cls
    assert (copy.args, str(copy), vars(copy)) == (error.args, str(error), vars(error))


@each_error
def test_an_error_keeps_its_arguments_in_order_as_attributes(
    cls: type[errors.UploadError],
) -> None:
    assert tuple(vars(example(cls)).values()) == EXAMPLES[cls][0]


def test_an_outage_without_retry_after_has_none() -> None:
    assert errors.ServiceUnavailableError("store", "500").retry_after_s is None


@pytest.mark.parametrize(
    "cls",
    [cls for cls in leaves() if issubclass(cls, errors.RetryableError) and cls in SHOWN],
    ids=lambda cls: cls.__name__,
)
def test_every_retryable_error_has_a_policy_and_can_wait(cls: type[errors.RetryableError]) -> None:
    assert cls in POLICIES

    wait = json.loads(json.dumps(retry_plan(cls(*EXAMPLES[cls][0])), allow_nan=False))

    assert wait["kind"] == cls.__name__
    assert wait["error"] == explained(example(cls))
