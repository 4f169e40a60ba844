"""The hook installed on Windows as deploy/farm/README.md says, and the scripts that call it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.farm_hooks.conftest import load
from tests.farm_hooks.stand import HOOKS
from tests.helpers.pyz import built_pyz
from tests.sandbox import RedisServer
from tests.windows.conftest import VERSION, Hook, take
from tests.windows.python import windows_path

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]

PYTHON = "C:\\Program Files\\Python312\\python.exe"


@pytest.fixture
def installed(hook: Hook, redis_server: RedisServer) -> Iterator[Hook]:
    """Python and the hook in their folders on C:, and the example of hook.env filled in."""
    drive = hook.windows.drive_c
    programs, data = drive / "Program Files", drive / "ProgramData" / "farmhaul"
    python, folder = programs / "Python312", programs / "farmhaul-hook"
    python.symlink_to(hook.windows.program.parent)
    folder.mkdir()
    hook.pyz = Path(shutil.copy(built_pyz(), folder))
    (data / "spool").mkdir(parents=True)
    lines = []
    for line in (HOOKS / "hook.env.example").read_text().splitlines():
        name = line.lstrip("#").partition("=")[0]
        if name == "FARMHAUL_REDIS_URL":
            lines.append(f"{name}='{redis_server.url}'")
        elif "FARMHAUL_HOOK_KEY" not in line and "/mnt/" not in line and "/var/" not in line:
            lines.append(line.lstrip("#") if name.startswith("FARMHAUL_") else line)
    (data / "hook.env").write_text("\r\n".join(lines))
    hook.env = {}
    yield hook
    python.unlink()
    shutil.rmtree(folder)


def test_the_hook_runs_as_the_page_says(installed: Hook, redis_server: RedisServer) -> None:
    installed.write("prod/test.exr")
    pyz = "C:\\Program Files\\farmhaul-hook\\farmhaul-hook.pyz"
    words = ("-I", pyz, "enqueue", "P:\\prod\\test.exr", "--version-id", VERSION)

    done = installed.windows.run(*words, program=PYTHON)

    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["path"] == "P:/prod/test.exr"
    assert len(take(redis_server)) == 1
    flushed = installed.windows.run("-I", pyz, "flush-spool", program=PYTHON)
    assert (flushed.returncode, flushed.stderr) == (0, b"")


def test_tractor_starts_it_without_a_shell(installed: Hook, redis_server: RedisServer) -> None:
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py")
    program, *words = tractor.arguments(
        "P:\\prod\\sh 010\\f.####.exr", [1001, 1002], version_id=VERSION, windows=True
    )

    done = installed.windows.run(*words, program=program)

    assert (done.returncode, done.stderr) == (0, b"")
    [request] = take(redis_server)
    assert request.path == "P:/prod/sh 010/f.%04d.exr [1001-1002]"


@pytest.mark.parametrize("code", [0, 3])
def test_a_render_is_followed_by_its_upload(
    installed: Hook, redis_server: RedisServer, code: int
) -> None:
    installed.write("prod/ü.exr")
    render = (PYTHON, "-c", f"raise SystemExit({code})")
    script = windows_path(HOOKS / "anything" / "after_render.py")

    done = installed.windows.run(script, *render, "--", "P:\\prod\\ü.exr", "--version-id", VERSION)

    assert (done.returncode, done.stderr) == (code, b"")
    assert [request.path for request in take(redis_server)] == ["P:/prod/ü.exr"] * (not code)
