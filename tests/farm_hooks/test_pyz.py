"""farmhaul-hook.pyz: one file that any Python runs, or imports, with nothing around it."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.farm_hooks.conftest import Installed
from tests.farm_hooks.stand import HOOKS, enqueue_bare
from tests.helpers.pythons import MINORS, python
from tests.helpers.pyz import NAME, build_pyz, built_pyz
from tests.sandbox.process import CHECKOUT, NO_REDIS
from tests.sandbox.redis_server import RedisServer

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
PATH = "/mnt/prod/Übersicht 01/a b.exr"
SCRIPTS = sorted(HOOKS.rglob("*.py"))


def line(path: str = PATH, **more: Any) -> dict[str, Any]:
    return {"path": path, "version_id": VERSION, **more}


def run(
    installed: Installed,
    *words: str,
    program: str = sys.executable,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run the file as a command, in an environment that is empty unless it is given."""
    command = [program, "-I", "-S", "-B", "-X", "utf8", str(installed.file), *words]
    return subprocess.run(
        command, env=dict(env or {}), input=stdin, capture_output=True, text=True, timeout=60
    )


# Every Python


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_hooks_are_written_in_python_3_8(script: Path) -> None:
    assert ast.parse(script.read_text(), feature_version=(3, 8)).body


@pytest.mark.parametrize("minor", MINORS)
def test_each_python_runs_the_file_alone(installed: Installed, minor: int) -> None:
    words = ("enqueue", "--no-stat", PATH, "--version-id", VERSION)
    done = run(installed, *words, program=python(minor))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["state"] == "queued"
    assert installed.queued == [(PATH, "a b")]
    assert {path.name for path in installed.folder.iterdir()} <= {NAME, "hook.env", "spool"}
    assert installed.left == []


@pytest.mark.parametrize("minor", MINORS)
def test_each_python_imports_the_file_alone(installed: Installed, minor: int) -> None:
    code, text, _ = enqueue_bare(installed.file, python(minor), [line()])
    assert (code, text) == (0, "farmhaul: /mnt/prod/\\xdcbersicht 01/a b.exr: 1 queued")
    assert installed.queued == [(PATH, "a b")]


def test_an_older_python_is_told_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(built_pyz()) as archive:
        main = archive.read("__main__.py").decode()
    # Python 2 has to be able to read it.
    assert ast.parse(main, feature_version=(3, 4)).body
    assert main.index("version_info") < main.index("from farmhaul_hook")
    assert "sys.version)" not in main, "it has two lines"


# What is in it


def test_two_builds_have_the_same_bytes(tmp_path: Path) -> None:
    other = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PATH": os.environ["PATH"]}
    build_pyz(tmp_path / "a.pyz", env=other, cwd=tmp_path, umask=0o077)
    assert (tmp_path / "a.pyz").read_bytes() == built_pyz().read_bytes()


def test_its_package_has_a_name_of_its_own_and_needs_no_other() -> None:
    with zipfile.ZipFile(built_pyz()) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        for name in archive.namelist():
            assert name == "__main__.py" or name.startswith("farmhaul_hook/")
            assert archive.getinfo(name).compress_type == zipfile.ZIP_STORED
            if "bytecode-" in name:
                continue
            for node in ast.walk(ast.parse(archive.read(name))):
                if isinstance(node, ast.ImportFrom | ast.Import):
                    assert "tasks" not in ast.unparse(node), name


@pytest.mark.parametrize("minor", MINORS)
def test_it_has_bytecode_for_each_python_of_the_machine_that_built_it(minor: int) -> None:
    code = "import farmhaul_hook.intake.hook as hook; print(type(hook.__loader__).__name__)"
    command = [python(minor), "-S", "-c", code]
    env = {"PYTHONPATH": str(built_pyz())}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("Bytecode\n", "")


def test_a_python_without_bytecode_compiles_the_sources(installed: Installed) -> None:
    with zipfile.ZipFile(installed.file) as archive:
        kept = {n: archive.read(n) for n in archive.namelist() if "bytecode-" not in n}
    with zipfile.ZipFile(installed.file, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    words = ("enqueue", "--no-stat", PATH, "--version-id", VERSION)
    assert run(installed, *words).returncode == 0


def test_the_wheel_carries_it_and_the_sdist_can_build_it(tmp_path: Path) -> None:
    def built(folder: Path, kind: str) -> Path:
        target = str(tmp_path / kind)
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        [made] = (tmp_path / kind).iterdir()
        return made

    with tarfile.open(built(CHECKOUT, "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()
    with zipfile.ZipFile(built(source, "wheel")) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(NAME)]
        assert name.endswith(f".data/data/share/farmhaul/{NAME}")
        assert wheel.read(name) == built_pyz().read_bytes()


# The command


def test_its_help_and_version(installed: Installed) -> None:
    shown = run(installed, "--help")
    assert (shown.returncode, "flush-spool" in shown.stdout, shown.stderr) == (0, True, "")
    assert run(installed, "--version").stdout == "farmhaul-hook.pyz 0.1.0\n"
    assert "--component-id" in run(installed, "enqueue", "--help").stdout
    for words in ([], ["status"]):
        done = run(installed, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_waiting_needs_the_farmhaul_command(installed: Installed) -> None:
    done = run(installed, "enqueue", "--no-stat", PATH, "--version-id", VERSION, "--wait")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--wait needs an installed farmhaul" in done.stderr


def test_it_checks_what_it_would_queue(installed: Installed) -> None:
    done = run(
        installed, "enqueue", "--dry-run", "--no-stat", f"{PATH} [1-2]", "--version-id", VERSION
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    done = run(installed, "enqueue", "--dry-run", "--no-stat", PATH, "--version-id", VERSION)
    assert (done.returncode, json.loads(done.stdout)["path"], done.stderr) == (0, PATH, "")
    assert installed.queued == []


def test_a_manifest_may_come_from_stdin(installed: Installed) -> None:
    words = ("enqueue", "--no-stat", "--manifest", "-")
    assert run(installed, *words, stdin=json.dumps(line())).returncode == 0
    assert installed.queued == [(PATH, "a b")]


def test_names_are_utf_8_in_any_locale(installed: Installed) -> None:
    command = [sys.executable, "-S", "-B", str(installed.file), "enqueue", "--no-stat", PATH]
    env = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    target = ["--version-id", VERSION, "--name", "Ü"]
    done = subprocess.run([*command, *target], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert installed.queued == [(PATH, "Ü")]


def test_without_redis_uploads_are_spooled_and_sent_later(installed: Installed) -> None:
    installed.configure(FARMHAUL_REDIS_URL=NO_REDIS)
    done = run(installed, "enqueue", "--no-stat", PATH, "--version-id", VERSION)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "spooled")
    assert enqueue_bare(installed.file, sys.executable, [line("/mnt/prod/b.exr")])[0] == 0
    assert len(installed.left) == 2

    installed.configure()
    done = run(installed, "flush-spool")
    assert (done.returncode, done.stdout) == (0, "2 uploads enqueued from the spool\n")
    assert {name for _, name in installed.queued} == {"a b", "b"}
    assert installed.left == []


def test_a_command_that_is_killed_leaves_the_upload_in_the_spool(
    installed: Installed, redis_server: RedisServer
) -> None:
    redis_server.pause(3)
    words = ("enqueue", "--no-stat", PATH, "--version-id", VERSION)
    child = subprocess.Popen([sys.executable, "-I", str(installed.file), *words], env={})
    while not any(path.stat().st_size for path in installed.left):
        time.sleep(0.01)
    child.kill()
    child.wait()
    [kept] = installed.left
    assert json.loads(kept.read_bytes())["requests"][0]["path"] == PATH
    while not redis_server.answers():
        time.sleep(0.1)


def test_without_redis_and_spool_it_exits_with_3(installed: Installed) -> None:
    installed.break_down()
    done = run(installed, "enqueue", "--no-stat", PATH, "--version-id", VERSION)
    assert (done.returncode, done.stdout) == (3, "")
    assert "FARMHAUL_SPOOL cannot be written" in done.stderr


@pytest.mark.parametrize("manifest", [False, True])
def test_settings_that_cannot_be_read_are_said_and_the_upload_kept(
    installed: Installed, manifest: bool
) -> None:
    (installed.folder / "hook.env").unlink()
    (installed.folder / "hook.env").mkdir()
    words = ["--manifest", "-"] if manifest else [PATH, "--version-id", VERSION]
    env = {"FARMHAUL_SPOOL": str(installed.spool)}
    stdin = json.dumps(line()) if manifest else ""
    done = run(installed, "enqueue", "--no-stat", *words, env=env, stdin=stdin)
    assert done.returncode == 3
    assert f"{installed.folder}/hook.env cannot be read by the user" in done.stderr
    assert f"kept in {installed.left[0]}" in done.stderr
    assert installed.lines() == [{**line(), "priority": "normal"}]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FARMHAUL_REDIS_URL", "nonsense", "FARMHAUL_REDIS_URL: is not a Redis URL"),
        ("FARMHAUL_HOOK_KEY_FILE", "/nowhere", "FARMHAUL_HOOK_KEY_FILE: cannot read /nowhere"),
        ("FARMHAUL_STORAGE_ROOTS", "", "FARMHAUL_STORAGE_ROOTS is not set"),
    ],
)
def test_a_wrong_setting_is_said_and_the_upload_kept(
    installed: Installed, name: str, value: str, says: str
) -> None:
    installed.configure(**{name: value})
    done = run(installed, "enqueue", "--no-stat", PATH, "--version-id", VERSION)
    assert (done.returncode, done.stdout) == (3, "")
    assert says in done.stderr
    assert f"kept in {installed.left[0]}" in done.stderr
    assert run(installed, "enqueue", "--help").returncode == 0
    assert says in run(installed, "flush-spool").stderr
    shown = run(installed, "enqueue", "--dry-run", "--no-stat", PATH, "--version-id", VERSION)
    assert (shown.returncode, shown.stdout, "kept in" in shown.stderr) == (2, "", False)
    assert (installed.queued, len(installed.left)) == ([], 1)

    installed.configure()
    assert run(installed, "flush-spool").returncode == 0
    assert installed.queued == [(PATH, "a b")]


def test_an_upload_that_is_kept_does_not_depend_on_the_working_folder(
    installed: Installed,
) -> None:
    installed.configure(FARMHAUL_REDIS_URL="nonsense")
    here = os.path.realpath(os.curdir)
    for path in ("b/../a.exr", "frames/", "P:/a.exr"):
        run(installed, "enqueue", "--no-stat", path, "--version-id", VERSION)
    paths = [one["path"] for one in installed.lines()]
    assert sorted(paths) == sorted([f"{here}/a.exr", f"{here}/frames/", "P:/a.exr"])


def test_a_file_that_a_variable_names_wins(installed: Installed, tmp_path: Path) -> None:
    other = tmp_path / "other.env"
    shutil.move(installed.folder / "hook.env", other)
    (installed.folder / "hook.env").write_text("nonsense\n")
    env = {"FARMHAUL_HOOK_ENV": str(other)}
    words = ("enqueue", "--no-stat", PATH, "--version-id", VERSION)
    assert run(installed, *words, env=env).returncode == 0


@pytest.mark.parametrize("inside", [False, True])
def test_it_may_be_unpacked_into_a_folder_of_its_name(installed: Installed, inside: bool) -> None:
    """A Python then keeps its bytecode, which a controller with many hooks may need."""
    archive = installed.file.rename(installed.folder / "archive")
    with zipfile.ZipFile(archive) as content:
        content.extractall(installed.file)
    if inside:
        shutil.move(installed.folder / "hook.env", installed.file)
    assert run(installed, "--version").stdout == "farmhaul-hook.pyz 0.1.0\n"
    words = ("enqueue", "--no-stat", PATH, "--version-id", VERSION)
    assert run(installed, *words).returncode == 0
    assert enqueue_bare(installed.file, sys.executable, [line()])[0] == 0
    assert len(installed.queued) == 2
