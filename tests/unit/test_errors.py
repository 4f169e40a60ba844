"""Every error of the tree: what it says, and that it survives the way through Redis."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator

import pytest

from tasks.stage.retry_policy import POLICIES, wait_for
from tasks.transfer import errors
from tests.helpers.error_examples import EXAMPLES


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


def test_every_error_is_either_tried_again_or_final_and_drawn_in_the_tree() -> None:
    for cls in leaves():
        assert issubclass(cls, errors.RetryableError) != issubclass(cls, errors.FatalError)
        assert f"── {cls.__name__} " in str(errors.__doc__)


@each_error
def test_an_error_says_what_which_why_and_what_next_on_one_line(
    cls: type[errors.UploadError],
) -> None:
    said = str(example(cls))

    for words in EXAMPLES[cls][1]:
        assert words in said
    assert len(said.splitlines()) == 1


@each_error
def test_an_error_is_rebuilt_from_its_plain_arguments_that_json_can_hold(
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
def test_an_error_keeps_all_its_arguments_in_order_as_attributes(
    cls: type[errors.UploadError],
) -> None:
    assert tuple(vars(example(cls)).values()) == EXAMPLES[cls][0]


def test_an_outage_without_a_wish_for_a_pause_has_none() -> None:
    assert errors.ServiceUnavailableError("store", "500").retry_after_s is None


@pytest.mark.parametrize(
    "cls",
    [cls for cls in leaves() if issubclass(cls, errors.RetryableError)],
    ids=lambda cls: cls.__name__,
)
def test_every_retryable_error_has_a_policy_and_can_wait(cls: type[errors.RetryableError]) -> None:
    assert cls in POLICIES

    wait = json.loads(json.dumps(wait_for(cls(*EXAMPLES[cls][0])), allow_nan=False))

    assert wait["kind"] == cls.__name__
    assert wait["error"] == str(example(cls))
