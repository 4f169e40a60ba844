"""The rules that hold the project together: layers, cold starts, package contents, locks."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.helpers.imports import loaded_by

ROOT = Path(__file__).resolve().parent.parent
LOCKS = [ROOT / "deploy" / "requirements.lock", ROOT / "tests" / "requirements.lock"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: The packages that only group modules. The others are modules with parts of their own.
PACKAGES = [
    path
    for folder in ("tasks/*", "workers/broker", "workers/steps")
    for path in sorted(ROOT.glob(f"{folder}/__init__.py"))
]
LONGEST_NAME = 60
#: How the names of functions begin that fail if something is wrong.
CHECKS = ("assert_", "check_", "expect_", "require_", "wait_", "raises", "warns")
LUA = {str(path.relative_to(ROOT)) for path in (ROOT / "tasks/records/lua").rglob("*.lua")}


def modules_below(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


# Layers


def test_imports_keep_to_the_contracts(tmp_path: Path) -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")

    run = subprocess.run(
        [lint_imports, "--no-logo", "--cache-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr


def test_the_package_tasks_itself_imports_nothing() -> None:
    body = ast.parse((ROOT / "tasks" / "__init__.py").read_text()).body

    assert [ast.unparse(node) for node in body if not is_docstring(node)] == []


@pytest.mark.parametrize("package", PACKAGES, ids=dotted)
def test_a_package_describes_itself_and_imports_nothing(package: Path) -> None:
    """A hook that imports one module of a package must not pay for the others."""
    docstring, *code = ast.parse(package.read_text()).body

    assert is_docstring(docstring)
    assert [ast.unparse(node) for node in code] == []


def test_the_transfer_library_loads_neither_celery_nor_redis() -> None:
    names = [dotted(path) for path in modules_below("tasks/transfer")]

    loaded = loaded_by("import " + ", ".join(names))

    assert loaded.isdisjoint({"billiard", "celery", "cryptography", "kombu", "redis", "rich"})


def test_the_transfer_library_neither_sleeps_nor_reads_environ() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        for path in modules_below("tasks/transfer")
        for node, name in names_used(path)
        if name in {"sleep", "environ", "getenv"}
    ]

    assert found == []


def test_the_command_starts_without_what_only_some_commands_need() -> None:
    loaded = loaded_by("import workers.cli.group")

    needless = {"asyncio", "celery", "cryptography", "flower", "kombu", "redis", "requests", "rich"}
    assert loaded.isdisjoint(needless)


def test_hooks_call_the_command_and_never_import_us() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_below("deploy/farm")
        for name in imported_by(path)
        if name.partition(".")[0] in {"tasks", "workers"}
    ]

    assert found == []


def test_no_test_module_imports_another() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_below("tests")
        for name in imported_by(path)
        if any(part.startswith("test_") for part in name.split("."))
    ]

    assert found == [], "what two test modules need belongs to tests/helpers"


# Shape


def test_every_task_says_why_it_is_safe_to_run_twice() -> None:
    tasks = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": ast.get_docstring(node) or ""
        for path in modules_below("tasks", "workers")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and is_task(node)
    }

    assert len(tasks) >= 4
    silent = [
        name
        for name, docstring in tasks.items()
        if not docstring.split("\n\n")[-1].startswith("Safe to run twice: ")
    ]
    assert silent == []


# Tests


def test_the_name_of_a_test_is_a_short_sentence() -> None:
    """Details belong to the docstring: a long name hides what the test is about."""
    long = [
        f"{path.relative_to(ROOT)}:{test.lineno} {test.name}"
        for path, test in all_tests()
        if len(test.name.removeprefix("test_")) > LONGEST_NAME
    ]

    assert long == []


def test_each_test_asserts_something() -> None:
    """By itself, or by a helper whose name says that it checks or waits for something."""
    empty = [
        f"{path.relative_to(ROOT)}:{test.lineno} {test.name}"
        for path, test in all_tests()
        if not any(checks(node) for node in ast.walk(test))
    ]

    assert empty == []


# What is installed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    run = subprocess.run([*build, folder, ROOT], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_the_wheel_holds_our_packages_and_the_hook_alone(wheel: zipfile.ZipFile) -> None:
    ours = {
        str(path.relative_to(ROOT))
        for folder in ("tasks", "workers")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".lua", ".html", ".css", ".js"} or path.name == "py.typed"
    }

    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}

    hook = f"farmhaul-{PYPROJECT['project']['version']}.data/data/share/farmhaul/farmhaul-hook.pyz"
    assert installed == {*ours, hook}
    assert {"tasks/py.typed", "workers/py.typed", "workers/cli/__init__.py"} <= installed
    assert LUA
    assert installed >= LUA


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    version = PYPROJECT["project"]["version"]
    info = f"farmhaul-{version}.dist-info"
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(f"{info}/entry_points.txt").decode())

    assert dict(scripts["console_scripts"]) == {"farmhaul": "workers.cli:main"}
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


# Locks


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_a_lock_holds_only_versions_and_hashes(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert re.findall(r"(?m)^\s*--(?!hash=sha256:)\S+", text) == []
    assert re.findall(r"(?m)(?:^|[\s(])[/~]\S*|[A-Z]:\\\S*", text) == [], "an absolute path"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_everything_in_a_lock_is_pinned_by_hash(lock: Path) -> None:
    entries = re.split(r"(?m)^(?=[a-z0-9])", lock.read_text())[1:]

    assert entries
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_a_lock_meets_the_ranges_we_declare(lock: Path) -> None:
    pins: dict[str, str] = dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", lock.read_text()))
    project = PYPROJECT["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["flower"]
    if lock.parent.name == "tests":
        declared += PYPROJECT["dependency-groups"]["dev"]

    unmet = [
        str(requirement)
        for requirement in map(Requirement, declared)
        if pins.get(requirement.name, "0") not in requirement.specifier
    ]

    assert unmet == []


def test_both_locks_agree_on_versions() -> None:
    deployed, tested = (
        set(re.findall(r"(?m)^[a-z0-9._-]+==[^\s\\]+", lock.read_text())) for lock in LOCKS
    )

    assert deployed - tested == set()


# Reading Python


@cache
def all_tests() -> list[tuple[Path, ast.FunctionDef]]:
    return [
        (path, node)
        for path in modules_below("tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def checks(node: ast.AST) -> bool:
    """Return whether a node of a test is an assert, or a call that fails if something is wrong."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).rpartition(".")[2].startswith(CHECKS)
    return isinstance(node, ast.Assert)


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_task(function: ast.FunctionDef) -> bool:
    """Return whether a function is decorated by shared_task or by an app's task."""
    calls = [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]
    return any(ast.unparse(call).rpartition(".")[2] in {"shared_task", "task"} for call in calls)


def names_used(path: Path) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node, node.attr
        elif isinstance(node, ast.Name):
            yield node, node.id


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)
