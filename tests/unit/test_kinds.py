"""The words for kinds of errors: each that a record may have has some."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tasks.records.scripts import assembled_scripts
from tasks.transfer import errors
from workers.kinds import MEANINGS, kind_line


def final(kind: type[Exception]) -> Iterator[str]:
    below = kind.__subclasses__()
    if not below:
        yield kind.__name__
    for one in below:
        yield from final(one)


def test_each_kind_that_an_upload_fails_with_has_words() -> None:
    raised = {name for name in final(errors.UploadError) if hasattr(errors, name)}
    text = "".join(assembled_scripts().values())
    written = {*re.findall(r"(?:'error_kind',|REFUSED =) '([A-Z]\w+)'", text)}

    assert {"StoreRefusedError"} < raised
    assert {"PlaceTaken", "WorkerKilled"} < written
    assert raised | written <= {*MEANINGS}


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("PlaceTaken", "PlaceTaken: the name has other files under this version"),
        ("OfANewerVersion", "OfANewerVersion"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
)
def test_a_kind_that_nobody_knows_is_shown_as_it_is(kind: str, line: str) -> None:
    assert kind_line(kind) == line
