"""JSON that is written without the module json, and is the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intake import json_text as module
from tasks.intake.json_text import json_text
from tests.helpers.pythons import SOURCE

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@given(VALUES)
def test_the_text_is_that_of_the_standard_library(value: object) -> None:
    for comma, colon in ((",", ":"), (", ", ": ")):
        expected = json.dumps(value, separators=(comma, colon))

        assert module._text(value, comma, colon) == expected
        assert json_text(value, comma, colon) == expected


def test_what_is_no_value_of_json_is_refused() -> None:
    for value in (b"bytes", {1}, object(), [object()]):
        with pytest.raises(TypeError):
            module._text(value, ",", ":")
        with pytest.raises(TypeError):
            json_text(value)


def test_only_finite_numbers_are_written() -> None:
    for number in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match="finite"):
            module._text({"a": [number]}, ",", ":")
        with pytest.raises(ValueError, match=r"JSON|range"):
            json_text(number)


def test_a_process_without_json_does_not_import_it() -> None:
    code = (
        "import sys; from tasks.intake.json_text import json_text\n"
        "print(json_text({'a': [1, None, 'ü']}), 'json' in sys.modules, 're' in sys.modules)"
    )
    run = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout == '{"a":[1,null,"\\u00fc"]} False False\n'
