"""ftrack's own client passes its own tests on the stand-in, so the stand-in is like a server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.ftrack_suite import (
    NEWER,
    SOURCE,
    fetch_schemas,
    fetch_suite,
    names_left_out,
    run_suite,
    schemas_path,
    seed_suite,
)
from tests.helpers.skipping import skip_loudly
from tests.sandbox import Sandbox

UNTESTED = "FTRACK-PYTHON'S OWN TESTS WERE NOT RUN"


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_the_official_clients_own_tests_pass(tmp_path: Path) -> None:
    if why := fetch_suite() or fetch_schemas():
        skip_loudly(UNTESTED, f"{why}; CONTRIBUTING.md says what to put there")
    for name in names_left_out(but=NEWER):
        file, _, test = name.partition("::")
        where = SOURCE / "test" / "unit" / file
        assert not test or f"def {test.partition('[')[0]}" in where.read_text(), name

    with Sandbox.start(tmp_path / "sandbox", schemas=schemas_path()) as sandbox:
        seed_suite(sandbox)
        done = run_suite(sandbox, tmp_path)

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 391
