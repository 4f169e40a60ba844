"""What is installed: by its hash, looked up for vulnerabilities, and listed in a release."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.sandbox.process import CHECKOUT

PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *(CHECKOUT / "docs").rglob("*.md")]
INSTALLS = [*PAGES, CHECKOUT / "Makefile", CHECKOUT / "deploy/docker/Dockerfile"]


def pins(lock: str) -> dict[str, str]:
    """Return the lines of a lock, up to the next package, by the package's name and version."""
    parts = re.split(
        r"^(?=[a-z])", (CHECKOUT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return {part.split()[0]: part for part in parts if part[0].isalpha()}


def test_each_documented_installation_checks_hashes() -> None:
    lines = [
        (path.name, line.strip())
        for path in INSTALLS
        for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        if re.search(r"\bpip install\s+-|pip wheel", line)
    ]

    assert len(lines) >= 8
    for _, line in lines:
        # A lock with hashes; or this project or its wheel, and nothing that pip would fetch for it.
        own = "--no-deps" in line and ("--no-build-isolation" in line or "--no-index" in line)
        assert "--require-hashes" in line or own, line


def test_the_lock_of_the_build_backend_has_a_hash_for_each_package() -> None:
    build, tests = pins("deploy/build.lock"), pins("tests/requirements.lock")

    assert any(pin.startswith("hatchling==") for pin in build)
    assert build.keys() <= tests.keys()
    assert all("--hash=sha256:" in text for text in build.values())
    assert "deploy/build.lock" in (CHECKOUT / ".dockerignore").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "code", "expected"),
    [
        ("No known vulnerabilities found", 0, 0),
        ("Found 2 known vulnerabilities in 1 package", 1, 1),
        ("ERROR:pip_audit._cli:ConnectionError: Failed to resolve a name", 1, 3),
        ("WARNING: celery could not be audited", 0, 3),
        ("Traceback (most recent call last):", 1, 3),
        ("", 0, 3),
        ("", 127, 3),
    ],
)
def test_an_audit_that_could_not_tell_fails(
    said: str, code: int, expected: int, tmp_path: Path
) -> None:
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    run = subprocess.run(
        [CHECKOUT / ".ci/audit"], env={"PIP_AUDIT": str(tool), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert run.returncode == expected
    assert ("NOT AUDITED" in run.stderr) is (expected == 3)
    assert said in run.stdout


def test_ci_audits_and_says_loudly_where_it_could_not() -> None:
    text = (CHECKOUT / ".ci/run").read_text(encoding="utf-8")

    assert "step .ci/audit" in text
    assert "BUT NOT AUDITED" in text.split("all steps passed")[1]
