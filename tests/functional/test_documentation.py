"""README.md and docs/ are true: options, output, variables, keys in Redis, log events, links."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.records.keys import PREFIX
from tasks.transfer.models import LARGE_BYTES
from tests.demo.renders import FRAME_HEIGHT, FRAME_WIDTH, exr
from tests.docs_tables import defaults, shown_options
from tests.farm import BIN, Farm
from tests.helpers.documents import (
    DOCS,
    README,
    block_after,
    first_cells,
    key_pattern,
    on_a_terminal,
    plain,
    section,
)
from tests.helpers.log_events import logged_events
from tests.sandbox.process import CHECKOUT
from workers.cli.group import COMMANDS
from workers.doctor.farm import CHECKS

#: An environment variable of farmhaul; NAME_FILE is the same variable.
VARIABLE = re.compile(r"\b(?:FTRACK|FARMHAUL)_[A-Z0-9_]+\b")


# Commands


def test_the_reference_has_a_section_for_each_command() -> None:
    sections = re.findall(r"(?m)^## farmhaul (\S+)$", DOCS["cli.md"])

    assert sorted(sections) == sorted(COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "worker"])
def test_the_reference_lists_the_options_that_help_shows(name: str) -> None:
    records = shown_options(name)

    documented = first_cells(section(DOCS["cli.md"], f"farmhaul {name}"))

    assert documented[: len(records)] == [record[0] for record in records]


# README


def test_the_example_in_the_readme_is_what_you_see(farm: Farm) -> None:
    frame = exr(FRAME_WIDTH, FRAME_HEIGHT, moved_by=0)
    path = farm.make_file("sh010_beauty_v003.1001.exr", frame, "readme/v003")
    example = block_after(README, "runs these commands")
    expected = script = ""
    for step in re.split(r"(?m)^\$ ", example)[1:]:
        command, _, output = step.partition("\n")
        expected += f"$ {command}\n{output}"
        script += f"printf '$ %s\\n' {shlex.quote(command)}\n(exit $code)\n{command}\ncode=$?\n"
    environment = {
        **farm.environment(),
        "RENDERS": str(path.parent),
        "VERSION": farm.sandbox.ftrack.version_id,
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }

    shown = on_a_terminal(["bash", "-c", f"code=0\n{script}"], environment)

    assert plain(shown) == plain(expected)


@pytest.mark.slow
def test_the_demo_shows_what_the_readme_shows_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "DEMO": ""}

    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    shown = plain(done.stdout).splitlines()
    excerpt = plain(block_after(README, "from the output of make demo")).splitlines()
    progress = re.compile(r" +\d+\.\d s  ")
    assert [line for line in excerpt if line not in shown and not progress.match(line)] == []


# The rest


def test_each_variable_has_a_section() -> None:
    headings = re.findall(r"(?m)^## (.+)$", DOCS["configuration.md"])

    assert {name for heading in headings for name in VARIABLE.findall(heading)} == {*defaults()}


def test_each_key_in_redis_is_documented(farm: Farm) -> None:
    farm.cli("limit", "--bandwidth", "10G")
    small, large = farm.make_file("main.exr", 1000), farm.make_file("main.mov", LARGE_BYTES + 1)
    uploads = farm.enqueue(small, "--component-id", farm.sandbox.ftrack.add_component("main"))
    with farm.frozen():
        farm.enqueue(small, "--version-id", farm.sandbox.ftrack.version_id, "--node-local")
        keys = set(farm.redis.scan_iter())
    farm.sandbox.faults.add(
        "ftrack", "error", "PermissionError", action="complete_multipart_upload"
    )
    refused = farm.enqueue(large, "--component-id", farm.sandbox.ftrack.add_component("main"))
    farm.wait_located(upload["upload_id"] for upload in uploads)
    farm.wait_state([upload["upload_id"] for upload in refused], "failed")
    keys |= set(farm.redis.scan_iter())

    patterns = [key_pattern(name) for name in first_cells(DOCS["state.md"])]
    assert [key for key in keys if not any(pattern.fullmatch(key) for pattern in patterns)] == []
    assert {f"{PREFIX}{name}" for name in ("limits", "hosts", "reconciler", "state:failed")} <= keys


def test_every_event_has_a_constant_name() -> None:
    events = list(logged_events())

    assert len(events) > 15
    assert [
        event for event in events if not re.fullmatch(r"[a-z]+(_[a-z]+)+", event.name or "")
    ] == []


def test_each_log_event_is_documented() -> None:
    documented = first_cells(section(DOCS["troubleshooting.md"], "Log lines of workers"))
    logged = {event.name for event in logged_events() if event.level not in {"debug", "info"}}

    assert set(documented) == logged


def test_each_check_of_the_farm_is_documented() -> None:
    documented = first_cells(section(DOCS["operations.md"], "farmhaul doctor"))

    assert set(CHECKS) - set(documented) == set()


def test_links_lead_somewhere() -> None:
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "deploy").rglob("*.md")]
    pages += [*(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "tests").rglob("*.md")]
    texts = {path: path.read_text(encoding="utf-8") for path in pages}

    broken = [
        f"{path.name}: {target}"
        for path, text in texts.items()
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        if "://" not in target and not (path.parent / target).exists()
    ]
    named = [
        f"{path.name}: {name}"
        for path, text in texts.items()
        for name in re.findall(r"`((?:tests|tasks|workers|deploy|docs)/[\w./-]+)`", text)
        if not (CHECKOUT / name).exists()
    ]

    assert broken + named == []
