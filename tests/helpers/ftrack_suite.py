"""ftrack-python's own unit tests, run against the stand-in.

They are no part of ftrack's package, so ``fetch_suite`` gets its repository by git, at the commit
of the package that is installed. They are not committed here. They belong to a server of ftrack's
own, with a certain user, project and task, which ``seed_suite`` makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.sandbox import Sandbox
from tests.sandbox.process import CHECKOUT

REPOSITORY = "https://github.com/ftrackhq/ftrack-python"
COMMIT = "60d77d0eda22578407d2d585ecae3ef2022b0a5b"  # 3.1.0
FETCH_S = 120
#: The checkout of that commit.
SOURCE = Path(os.environ.get("SANDBOX_FTRACK_PYTHON") or CHECKOUT / "build" / "ftrack-python")

USER = "d07ae5d0-66e1-11e1-b5e9-f23c91df25eb"
PROJECT = "5671dcb0-66de-11e1-8e6e-f23c91df25eb"
SCHEMA = "69cb7f92-4dbf-11e1-9902-f23c91df25eb"
TASK = "adb4ad6c-7679-11e2-8df2-f23c91df25eb"

#: Why tests are left out, and which: their files below test/unit, and how their names begin.
LEFT_OUT: dict[str, dict[str, tuple[str, ...]]] = {
    "they expect that no server answers within 0.1 ms, and the stand-in may": {
        "accessor/test_server.py": (
            "test_read_timeout",
            "test_write_timeout",
            "test_remove_timeout",
        ),
    },
    "the stand-in's project schemas have no workflows, and so no statuses and types": {
        "entity/test_project_schema.py": ("test_get_statuses", "test_get_types"),
        "test_session.py": ("test_create_with_reference",),
    },
    "the stand-in has no notes and scopes; no farm writes them": {
        "entity/test_note.py": ("test_create_reply", "test_create_note_on_entity"),
        "entity/test_scopes.py": ("test_add_remove_and_query_scopes_for_tasks",),
    },
    "the stand-in has no timers; no farm starts them": {
        "entity/test_user.py": ("test_force_start_timer", "test_timer_creates_timelog"),
        "test_timer.py": (
            "test_manually_create_multiple_timers_with_error",
            "test_create_multiple_timers_with_error",
            "test_start_and_stop_a_timer",
            "test_start_a_timer_when_timer_is_running",
        ),
        "test_formatter.py": ("test_format_recursive",),
    },
    "the stand-in takes values of custom attributes, and does not show them on entities": {
        "test_custom_attribute.py": (
            "test_read_set_custom_attribute",
            "test_write_set_custom_attribute_value",
            "test_set_custom_attribute_on_new_but_persisted_version",
            "test_batch_create_entity_and_custom_attributes",
            "test_refresh_custom_attribute",
        ),
        "test_session.py": ("test_query_nested_custom_attributes",),
    },
    "the stand-in names what it encodes when the job is done, and not when it begins": {
        "entity/test_asset_version.py": ("test_encode_media",),
        "test_session.py": ("test_encode_media_from_path",),
    },
    "the stand-in does not scale pictures": {
        "entity/test_location.py": ("test_get_thumbnail_url",),
    },
    "they are of ftrack's web pages and its keys of users; no farm uses them": {
        "entity/test_user.py": ("test_reset_user_api_key",),
        "test_session.py": (
            "test_get_tasks_widget_url",
            "test_get_info_widget_url",
            "test_remote_reset",
        ),
    },
    "the stand-in has no hash of its schemas, so that each client asks for them": {
        "test_session.py": (
            "test_load_schemas_from_valid_cache",
            "test_load_schemas_from_server_not_reporting_schema_hash",
        ),
    },
    "they expect of Python's dbm another name of its file; no server is asked": {
        "test_cache.py": tuple(
            f"test_{name}[file]"
            for name in (
                "get",
                "get_missing_key",
                "set",
                "remove",
                "remove_missing_key",
                "keys",
                "clear",
                "clear_using_pattern",
                "clear_encountering_missing_key",
            )
        ),
        "test_session.py": (
            "test_get_entity_from_cache[persisted]",
            "test_get_entity_tree_from_cache[persisted]",
            "test_get_metadata_from_cache[persisted]",
            "test_merge_circular_reference[persisted]",
        ),
    },
    "they are of the event hub, which tests/functional/test_events.py tests": {"event": ("",)},
}

#: What the tests import, and is not installed here.
SHIMS = """
import sys
import types
from unittest import mock

import pytest

flaky = types.ModuleType("flaky")
flaky.flaky = lambda **_: lambda test: test
termcolor = types.ModuleType("termcolor")
termcolor.colored = lambda text, *_, **__: text
sys.modules.update(flaky=flaky, mock=mock, termcolor=termcolor)


class _Patch:
    def __init__(self, started):
        self._started = started

    def _start(self, patcher):
        self._started.append(patcher)
        return patcher.start()

    def __call__(self, *values, **named):
        return self._start(mock.patch(*values, **named))

    def object(self, *values, **named):
        return self._start(mock.patch.object(*values, **named))

    def dict(self, *values, **named):
        return self._start(mock.patch.dict(*values, **named))


class Mocker:
    Mock, MagicMock = mock.Mock, mock.MagicMock

    def __init__(self):
        self.started = []
        self.patch = _Patch(self.started)

    def spy(self, owner, name):
        return self.patch.object(owner, name, side_effect=getattr(owner, name), autospec=True)

    def stopall(self):
        for patcher in reversed(self.started):
            patcher.stop()


@pytest.fixture
def mocker():
    made = Mocker()
    yield made
    made.stopall()
"""

#: Fixtures that need project schemas, without these.
FIXTURES = f"""


@pytest.fixture()
def new_task(request, session, unique_name):
    project = session.get("Project", "{PROJECT}")
    task = session.create("Task", {{"name": unique_name, "parent": project}})
    session.commit()
    yield task
    session.delete(task)
    session.commit()


@pytest.fixture()
def new_project_tree(request, session, user):
    name = "python_api_test_{{0}}".format(uuid.uuid1().hex)
    project = session.create("Project", {{"name": name, "full_name": name + "_full"}})
    sequence = session.create("Sequence", {{"name": "sequence_000", "parent": project}})
    shot = session.create("Shot", {{"name": "shot_000", "parent": sequence}})
    task = session.create("Task", {{"name": "task_000", "parent": shot}})
    session.create("Appointment", {{"type": "assignment", "context": task, "resource": user}})
    session.commit()
    yield project
    session.delete(project)
    session.commit()
"""


def fetch_suite() -> str:
    """Get the checkout unless it is there; return why it cannot be had, or an empty text.

    Git itself checks that the files are those of the commit.
    """
    if (SOURCE / "test" / "unit").is_dir():
        return ""
    new = SOURCE.with_name(f"{SOURCE.name}.new-{os.getpid()}")
    # A hook of Git's that runs this names the repository of its own.
    env = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    try:
        new.mkdir(parents=True, exist_ok=True)
        for arguments in (
            ("init", "-q"),
            ("fetch", "-q", "--depth=1", REPOSITORY, COMMIT),
            ("checkout", "-q", COMMIT),
        ):
            command = ["git", *arguments]
            subprocess.run(
                command,
                cwd=new,
                env={**env, "GIT_TERMINAL_PROMPT": "0"},
                check=True,
                capture_output=True,
                text=True,
                timeout=FETCH_S,
            )
        new.rename(SOURCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{REPOSITORY} cannot be fetched: {error}"
    except subprocess.CalledProcessError as error:
        return f"{REPOSITORY} cannot be fetched: {error.stderr.strip()}"
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return ""


def seed_suite(sandbox: Sandbox) -> None:
    """Create what the tests expect of a server."""
    create = sandbox.ftrack.create
    create("User", id=USER, username="jenkins", is_active=True)
    for number in range(12):
        create("User", username=f"user{number}", is_active=True)
    create("ProjectSchema", id=SCHEMA, name="VFX")
    create("Project", id=PROJECT, name="test", full_name="Test", project_schema_id=SCHEMA)
    create("Task", id=TASK, name="t1", parent_id=PROJECT, project_id=PROJECT)


def run_suite(sandbox: Sandbox, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of the tests, without those that are left out."""
    shutil.copytree(SOURCE / "test", folder / "test")
    (folder / "farmhaul_shims.py").write_text(SHIMS)
    with (folder / "test" / "unit" / "conftest.py").open("a") as conftest:
        conftest.write(FIXTURES)
    options = ["-q", "-c", os.devnull, f"--rootdir={folder}", "-W", "ignore", "--tb=short"]
    plugins = ["-p", "farmhaul_shims", "-p", "no:cacheprovider", "-p", "no:xdist"]
    left_out = [f"--deselect=test/unit/{one}" for one in names_left_out()]
    command = [sys.executable, "-m", "pytest", *options, *plugins, *left_out, "test/unit"]
    env = {**os.environ, **sandbox.env, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def names_left_out() -> list[str]:
    """Return the tests that are left out, as pytest names them."""
    return [
        f"{file}::{name}" if name else file
        for files in LEFT_OUT.values()
        for file, names in files.items()
        for name in names
    ]
