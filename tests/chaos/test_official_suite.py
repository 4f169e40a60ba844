"""ftrack's own client passes its own tests on the stand-in, so the stand-in is like a server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.ftrack_suite import SOURCE, fetch_suite, names_left_out, run_suite, seed_suite
from tests.helpers.skipping import skip_loudly
from tests.sandbox import Sandbox
from tests.sandbox.schemas import FULL_SCHEMAS

UNTESTED = "FTRACK-PYTHON'S OWN TESTS WERE NOT RUN"


@pytest.mark.chaos
@pytest.mark.timeout(800)
def test_the_official_clients_own_tests_pass(tmp_path: Path) -> None:
    if why := fetch_suite():
        skip_loudly(UNTESTED, f"{why}; CONTRIBUTING.md says what to do without a network")
    if not FULL_SCHEMAS.exists():
        skip_loudly(UNTESTED, f"{FULL_SCHEMAS} is missing, which has all types of ftrack")
    for name in names_left_out():
        file, _, test = name.partition("::")
        where = SOURCE / "test" / "unit" / file
        assert not test or f"def {test.partition('[')[0]}" in where.read_text(), name

    with Sandbox.start(tmp_path / "sandbox", schemas=FULL_SCHEMAS) as sandbox:
        seed_suite(sandbox)
        done = run_suite(sandbox, tmp_path)

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 365
