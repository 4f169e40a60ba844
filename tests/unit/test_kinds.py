"""The words for kinds of errors: each that a record may have has some."""

from __future__ import annotations

import re

import pytest

from tasks.records.scripts import assembled_scripts
from tests.helpers.error_examples import SHOWN
from workers.kinds import MEANINGS, kind_line


def test_each_kind_that_an_upload_fails_with_has_words() -> None:
    raised = {kind.__name__ for kind in SHOWN}
    text = "".join(assembled_scripts().values())
    written = {*re.findall(r"(?:'error_kind',|(?:REFUSED|KILLED) =) '([A-Z]\w+)'", text)}

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
