"""A hook runs on every Python from 3.8, with the standard library alone, and starts fast."""

from __future__ import annotations

import functools
import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pythons import MINORS, PYENV, copy_hook, hook_modules, python, pythons
from tests.sandbox.process import CHECKOUT

TOUR = CHECKOUT / "tests" / "helpers" / "hook_tour.py"
FILES = (
    "main.mov",
    "main.mp4",
    "main.jpg",
    "f.0001.exr",
    "f.0002.exr",
    "other/a.1.exr",
    "other/b.1.exr",
)

#: Modules that cost a cold start more than they are worth to one file.
SLOW = {
    *("collections", "contextlib", "dataclasses", "enum", "functools", "hashlib", "hmac"),
    *("inspect", "json", "pathlib", "re", "socket", "ssl", "subprocess", "tempfile", "threading"),
    *("types", "typing", "urllib", "uuid", "tasks.intake.frames", "tasks.intake.web_review"),
}
#: One file, from the environment to a signed entry.
ONE_FILE = """
import sys
sys.path.insert(0, sys.argv[1])
from tasks.config.hook_settings import HookSettings
from tasks.intake.bodies import make_bodies
from tasks.intake.build import Options, build_requests
from tasks.intake.envelope import sign
from tasks.intake.manifest import Entry

settings = HookSettings.from_environment(
    {"FARMHAUL_STORAGE_ROOTS": sys.argv[1], "FARMHAUL_SECRET_KEY": "A" * 43 + "="}
)
entry = Entry(sys.argv[1] + "/main.mov", version_id="9d1ad1a2-5b1c-4a0e-9a55-0a1b2c3d4e5f")
requests = build_requests([entry], settings, Options())
[entry] = [sign(body, settings.hook_keys) for body in make_bodies(requests, 1795.5, "node7")]
assert entry.startswith(b"farmhaul/1 ")
print(*sys.modules)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root, which also has what a hook imports, and nothing else of farmhaul."""
    folder = copy_hook(tmp_path_factory.mktemp("hook"))
    for name in FILES:
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"pixels")
    return folder


def run(program: str, *arguments: str | Path) -> str:
    """Run a Python that sees the standard library alone, and fails if it warns."""
    options = ("-I", "-S", "-B", "-W", "error", "-X", "utf8")
    done = subprocess.run(
        [program, *options, *arguments], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@functools.cache
def tour(minor: int, folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(run(python(minor), TOUR, folder, folder))
    return results


def test_pyenv_has_several_pythons() -> None:
    """Else the tests below would skip everywhere, and nobody would notice."""
    assert len(pythons()) >= (2 if PYENV.is_dir() else 1)


@pytest.mark.parametrize("minor", MINORS)
def test_each_python_makes_the_same_requests(minor: int, folder: Path) -> None:
    results = tour(minor, folder)

    assert results == tour(max(pythons()), folder)
    assert results["sent"] == results["records"]
    assert len(results["records"]) == 5
    assert all(results["refusals"])


@pytest.mark.parametrize("minor", MINORS)
def test_one_file_needs_no_slow_module(minor: int, folder: Path) -> None:
    program = python(minor)
    before = set(run(program, "-c", "import sys; print(*sys.modules)").split())

    loaded = set(run(program, "-c", ONE_FILE, folder).split())

    assert "tasks.intake.build" in loaded
    assert SLOW & (loaded - before) == set()


@pytest.mark.parametrize("minor", MINORS)
def test_each_python_imports_each_module_of_a_hook(minor: int, folder: Path) -> None:
    names = sorted(hook_modules())

    code = f"import sys; sys.path.insert(0, sys.argv[1])\nimport {', '.join(names)}\nprint('done')"
    assert run(python(minor), "-c", code, folder) == "done\n"


def test_the_contract_names_what_a_hook_imports() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    [contract] = [
        contract
        for contract in settings["importlinter"]["contracts"]
        if contract["name"].startswith("A hook needs the standard library alone")
    ]
    own = {name for name in hook_modules() if name.count(".") > 1}
    others = {name for name in own if not name.startswith("tasks.intake.")}

    assert set(contract["source_modules"]) == {"tasks.intake", *others}
