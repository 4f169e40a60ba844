"""ftrack-python's own unit tests, run against the stand-in.

They are in the source package of the last release that has one, and not committed here. They
belong to a server of ftrack's own, with a certain user, project and task, which ``seed_suite``
makes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.helpers.skipping import is_network_down
from tests.sandbox import Sandbox, seed
from tests.sandbox.process import CHECKOUT
from tests.sandbox.schemas import FULL_SCHEMAS

#: The last release with a source package. The client that is installed is newer.
PACKAGE = (
    "ftrack-python-api==2.5.4"
    " --hash=sha256:dde62dba9d024690ec34b852088c6bfd2b93fa827420d8d405e918b0eed99070\n"
)
FETCH_S = 120
#: Its folder ``test``; ``SANDBOX_FTRACK_PYTHON`` names another checkout.
SOURCE = Path(os.environ.get("SANDBOX_FTRACK_PYTHON") or CHECKOUT / "build" / "ftrack-python")
#: All types of ftrack are in the tests of its JavaScript client.
SCHEMAS_REPOSITORY = "https://github.com/ftrackhq/ftrack-javascript"
SCHEMAS_COMMIT = "e353bb25b19b98640f37bd15e89698062dc48b40"
SCHEMAS_SOURCE = CHECKOUT / "build" / "ftrack-javascript"

USER = "d07ae5d0-66e1-11e1-b5e9-f23c91df25eb"
PROJECT = "5671dcb0-66de-11e1-8e6e-f23c91df25eb"
SCHEMA = "69cb7f92-4dbf-11e1-9902-f23c91df25eb"
TASK_STATUSES = ("Not started", "In progress", "Awaiting approval", "Approved")
TASK_TYPES = (
    *("Generic", "Animation", "Modeling", "Previz", "Lookdev", "Hair", "Cloth", "FX"),
    *("Lighting", "Compositing", "Tracking", "Rigging", "test 1", "test type 2"),
)
BUILD_TYPES = ("Character", "Prop", "Environment", "Matte Painting")
TASK = "adb4ad6c-7679-11e2-8df2-f23c91df25eb"
ASSETS = ("dd9a7e2e-c5eb-11e1-9885-f23c91df25eb", "12939d0c-6766-11e1-8104-f23c91df25eb")

#: Why tests are left out that only newer releases have.
NEWER = "they expect that no server answers within 0.1 ms, and the stand-in may"
#: Why tests are left out, and which: their files below test/unit, and how their names begin.
LEFT_OUT: dict[str, dict[str, tuple[str, ...]]] = {
    NEWER: {
        "accessor/test_server.py": (
            "test_read_timeout",
            "test_write_timeout",
            "test_remove_timeout",
        ),
    },
    "the stand-in lets a user have several timers; no farm starts them": {
        "entity/test_user.py": ("test_force_start_timer", "test_timer_creates_timelog"),
        "test_timer.py": (
            "test_manually_create_multiple_timers_with_error",
            "test_create_multiple_timers_with_error",
            "test_start_and_stop_a_timer",
            "test_start_a_timer_when_timer_is_running",
        ),
    },
    "the stand-in adds no recipients of its own and has no categories; no farm writes notes": {
        "entity/test_note.py": ("test_create_note_on_entity_specifying",),
    },
    "the stand-in does not scale pictures": {
        "entity/test_location.py": ("test_get_thumbnail_url",),
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
past = types.ModuleType("past.builtins")
past.long = int
termcolor = types.ModuleType("termcolor")
termcolor.colored = lambda text, *_, **__: text
sys.modules.update({"past": past, "past.builtins": past})
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


def fetch_suite() -> str:
    """Get the tests unless they are there; return what of the network fails, or an empty text."""
    if (SOURCE / "test" / "unit").is_dir():
        return ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.txt").write_text(PACKAGE)
        # pip and uv fetch no source package without building it. uv compares the hash and unpacks
        # before it builds; it is told of no tool to build with, and fails.
        uv = (sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps", "--require-hashes")
        here = ("--no-build-isolation", f"--target={folder / 'built'}", "-r", "package.txt")
        what = f"{PACKAGE.partition(' ')[0]} cannot be fetched"
        try:
            done = subprocess.run(
                [*uv, *here, f"--python={sys.executable}"],
                cwd=folder,
                env={**os.environ, "UV_CACHE_DIR": str(folder / "cache")},
                capture_output=True,
                text=True,
                timeout=FETCH_S,
            )
        except subprocess.TimeoutExpired as error:
            return f"{what}: {error}"
        found = next(folder.glob("cache/sdists-*/**/test/unit"), None)
        if found is None:
            why = f"{what}: {done.stderr.strip()[-500:]}"
            assert is_network_down(done.stderr), why
            return why
        new = SOURCE.with_name(f"{SOURCE.name}.new-{os.getpid()}")
        shutil.copytree(found.parent, new / "test")
        new.rename(SOURCE)
    return ""


def fetch_schemas() -> str:
    """Get all types of ftrack unless they are there: those of the JavaScript client's tests."""
    if schemas_path().exists():
        return ""
    return fetch_repository(SCHEMAS_REPOSITORY, SCHEMAS_COMMIT, SCHEMAS_SOURCE)


def schemas_path() -> Path:
    """Return the file with all types of ftrack."""
    if FULL_SCHEMAS.exists():
        return FULL_SCHEMAS
    return SCHEMAS_SOURCE / "test" / "fixtures" / "query_schemas.json"


def fetch_repository(repository: str, commit: str, folder: Path) -> str:
    """Get a commit by git, which checks its files; return why it cannot be had, or nothing."""
    new = folder.with_name(f"{folder.name}.new-{os.getpid()}")
    # A hook of Git's that runs this names the repository of its own.
    env = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    try:
        new.mkdir(parents=True, exist_ok=True)
        for arguments in (
            ("init", "-q"),
            ("fetch", "-q", "--depth=1", repository, commit),
            ("checkout", "-q", commit),
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
        new.rename(folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{repository} cannot be fetched: {error}"
    except subprocess.CalledProcessError as error:
        return f"{repository} cannot be fetched: {error.stderr.strip()}"
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return ""


def seed_suite(sandbox: Sandbox) -> None:
    """Create what the tests expect of a server."""
    create = sandbox.ftrack.create
    create("User", id=USER, username="jenkins", is_active=True)
    for number in range(12):
        create("User", username=f"user{number}", is_active=True)
    create("Timelog", user_id=USER, duration=1)
    create("ListCategory", name="Dailies")
    _seed_workflow(sandbox)
    create("Project", id=PROJECT, name="test", full_name="Test", project_schema_id=SCHEMA)
    create("Sequence", name="sq1", parent_id=PROJECT, project_id=PROJECT)
    create("Task", id=TASK, name="t1", parent_id=PROJECT, project_id=PROJECT)
    for asset_id in ASSETS:
        create("Asset", id=asset_id, name="a", context_id=PROJECT)
    version = create("AssetVersion", asset_id=ASSETS[1], version=8)
    create("FileComponent", name="c", version_id=version["id"])
    for key, kind, entity_id in (
        ("customNumber", "Task", seed.TASK_ID),
        ("fstart", "Shot", seed.SHOT_ID),
        ("NumberField", "AssetVersion", seed.VERSION_ID),
        ("versiontest", "AssetVersion", ""),
        ("htest", "Asset", ""),
        ("teststring", "User", ""),
        ("listbool", "List", ""),
    ):
        _seed_attribute(sandbox, key, kind, entity_id)


def _seed_workflow(sandbox: Sandbox) -> None:
    """Create the project schema, with the statuses and types of each kind of entity."""
    create = sandbox.ftrack.create

    def made(kind: str, names: tuple[str, ...]) -> list[dict[str, str]]:
        ids = (create(kind, name=name)["id"] for name in names)
        return [{"__entity_type__": kind, "id": one} for one in ids]

    workflows = [
        create("WorkflowSchema", name="w", statuses=made("Status", names))["id"]
        for names in (TASK_STATUSES, ("Approved", "Pending"))
    ]
    types = create("TaskTypeSchema", name="t", types=made("Type", TASK_TYPES))["id"]
    fields = {"task_workflow_schema_id": workflows[0], "task_type_schema_id": types}
    fields |= {"asset_version_workflow_schema_id": workflows[1], "id": SCHEMA, "name": "VFX"}
    create("ProjectSchema", **fields)
    for kind, names in (("Shot", ()), ("AssetBuild", BUILD_TYPES)):
        schema = create("Schema", project_schema_id=SCHEMA, type_id=_object_type(kind))
        for status in made("Status", ("Normal", "Omitted", "On Hold")):
            create("SchemaStatus", schema_id=schema["id"], status_id=status["id"])
        for one in made("Type", names):
            create("SchemaType", schema_id=schema["id"], type_id=one["id"])


def _seed_attribute(sandbox: Sandbox, key: str, kind: str, entity_id: str) -> None:
    """Create a custom attribute for entities of a kind, and a value of one of them."""
    create = sandbox.ftrack.create
    fields: dict[str, Any] = {"key": key, "default": 0, "entity_type": kind.lower()}
    if kind in ("Task", "Shot"):
        fields |= {"entity_type": "task", "object_type_id": _object_type(kind)}
    configuration_id = create("CustomAttributeConfiguration", **fields)["id"]
    if entity_id:
        values = "Context" if kind in ("Task", "Shot") else kind
        of_entity = {"configuration_id": configuration_id, "entity_id": entity_id}
        create(f"{values}CustomAttributeValue", **of_entity, value=7)


def _object_type(kind: str) -> str:
    [schema] = [one for one in json.loads(schemas_path().read_text()) if one["id"] == kind]
    return str(schema["properties"]["object_type_id"]["default"])


def run_suite(sandbox: Sandbox, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of the tests, without those that are left out."""
    shutil.copytree(SOURCE / "test", folder / "test")
    (folder / "farmhaul_shims.py").write_text(SHIMS)
    options = ["-q", "-c", os.devnull, f"--rootdir={folder}", "-W", "ignore", "--tb=short"]
    plugins = ["-p", "farmhaul_shims", "-p", "no:cacheprovider", "-p", "no:xdist"]
    left_out = [f"--deselect=test/unit/{one}" for one in names_left_out()]
    command = [sys.executable, "-m", "pytest", *options, *plugins, *left_out, "test/unit"]
    env = {**os.environ, **sandbox.env, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)


def names_left_out(but: str = "") -> list[str]:
    """Return the tests that are left out, as pytest names them, *but* for one reason."""
    return [
        f"{file}::{name}" if name else file
        for why, files in LEFT_OUT.items()
        if why != but
        for file, names in files.items()
        for name in names
    ]
