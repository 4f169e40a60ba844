"""Every error of the tree: what it says, and that it survives the way through Redis."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator

import pytest

from tasks.stage.retry_policy import POLICIES, wait_for
from tasks.transfer import errors

ID = "5d2c9f6e-1b1e-4b4a-9d0c-3f1f8c6c7a10"
PATH = "/mnt/prod/main.0101.exr"

#: For each class: its arguments, and the words for what, which, why and next.
EXAMPLES: dict[type[errors.UploadError], tuple[tuple[object, ...], tuple[str, ...]]] = {
    errors.ServiceUnavailableError: (
        ("the store", "503 SlowDown", 7.5),
        ("waiting for the store", "503 SlowDown", "tries again by itself"),
    ),
    errors.CredentialsRefusedError: (
        ("https://studio.ftrackapp.com", "the key is not known"),
        ("https://studio.ftrackapp.com", "credentials", "the key is not known", "check FTRACK_API"),
    ),
    errors.FileNotReadyError: (
        (PATH, "No such file or directory"),
        ("cannot read", PATH, "No such file", "mounted on this node?"),
    ),
    errors.FileChangedError: (
        (PATH, "size 5 → 9"),
        (PATH, "changed while it was uploaded", "size 5 → 9", "still being written?"),
    ),
    errors.UrlRefusedError: (
        (ID, 403, "AccessDenied"),
        ("refused the signed URL", ID, "403 AccessDenied", "signed again"),
    ),
    errors.DigestMismatchError: (
        (ID, PATH, "ours==", "theirs=="),
        (PATH, "did not arrive as it was read", ID, "ours==", "theirs==", "read and sent again"),
    ),
    errors.MultipartGoneError: (
        (ID, "NoSuchUpload"),
        (ID, "can not be joined", "NoSuchUpload", "sent again"),
    ),
    errors.LeaseLostError: ((ID,), (ID, "taken over by another worker", "this one stops")),
    errors.UnexpectedAnswerError: (
        ("ftrack", "an API call", "HTTP 418"),
        ("ftrack answered", "an API call", "HTTP 418"),
    ),
    errors.FileRefusedError: ((PATH, "is a directory"), (PATH, "is a directory")),
    errors.RequestRefusedError: (
        (ID, "register", "ValidationError: no such version"),
        ("refused to register", ID, "no such version", "mend it in ftrack", "farmhaul retry"),
    ),
    errors.StoreRefusedError: (
        (ID, 413, "EntityTooLarge"),
        ("the store refused", ID, "413 EntityTooLarge", "farmhaul retry"),
    ),
    errors.SealBrokenError: (
        ("a task message",),
        ("a task message", "not sealed", "it is dropped", "FARMHAUL_SECRET_KEY"),
    ),
    errors.UploadsFailedError: (
        (f"{ID}: {PATH} is empty",),
        (ID, PATH, "is empty"),
    ),
}


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
