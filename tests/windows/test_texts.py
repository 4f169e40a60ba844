"""Texts on Windows: manifests, hook.env, consoles in other encodings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.sandbox import RedisServer
from tests.windows.conftest import VERSION, Hook, take
from tests.windows.python import windows_path

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]

LINE = json.dumps({"path": "P:\\größe 映.exr", "version_id": VERSION}, ensure_ascii=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_manifest_is_read_as_programs_of_windows_write_it(
    hook: Hook, redis_server: RedisServer, encoding: str, line_end: str
) -> None:
    hook.write("größe 映.exr")
    content = f"{LINE}{line_end}{line_end}".encode(encoding)
    manifest = hook.write("list of ü.jsonl", content)

    [by_name] = hook.enqueue("--manifest", f"P:\\{manifest.name}")
    [by_stdin] = hook.enqueue("--manifest", "-", stdin=content)

    assert by_name == by_stdin
    assert by_name["path"] == "P:/größe 映.exr"
    assert len(take(redis_server)) == 2


def test_a_manifest_in_a_code_page_is_refused_by_its_line(hook: Hook) -> None:
    hook.write("größe.exr")
    lines = [json.dumps({"path": path, "version_id": VERSION}, ensure_ascii=False)
             for path in ("P:\\a.exr", "P:\\größe.exr")]  # fmt: skip
    hook.write("a.exr")
    hook.write("list.jsonl", "\r\n".join(lines).encode("cp1252"))

    line = hook.refuse("--manifest", "P:\\list.jsonl")

    assert line.startswith("farmhaul: manifest line 2: ")
    assert "not UTF-8" in line


def test_a_manifest_that_is_not_there_is_named(hook: Hook) -> None:
    line = hook.refuse("--manifest", "P:\\nothing.jsonl")
    assert line.startswith("farmhaul: cannot read the manifest P:\\nothing.jsonl: ")


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "cp932", "ascii", "utf-8"])
def test_no_console_makes_a_command_fail(
    hook: Hook, redis_server: RedisServer, encoding: str
) -> None:
    hook.write("größe 映.exr")
    hook.env["PYTHONIOENCODING"] = encoding

    [answer] = hook.enqueue("P:\\größe 映.exr")
    assert answer["path"] == "P:/größe 映.exr"
    for arguments in (("P:\\fehlt 映.exr",), ("P:\\größe 映.exr", "--name", " ")):
        done = hook.run("enqueue", *arguments, "--version-id", VERSION)
        assert (done.code, done.answers) == (2, [])
        assert done.said.startswith("farmhaul: ")
        assert "Traceback" not in done.said
    assert hook.run("enqueue", "--help").code == 0
    assert len(take(redis_server)) == 1


@pytest.fixture
def installed(hook: Hook, tmp_path: Path) -> Hook:
    """The hook in a folder of its own, whose name no code page has, without variables."""
    folder = tmp_path / "Program Files ü 映"
    folder.mkdir()
    hook.pyz = Path(shutil.copy(hook.pyz, folder))
    hook.env = {}
    return hook


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_are_read_as_notepad_writes_them(
    installed: Hook, redis_server: RedisServer, encoding: str
) -> None:
    installed.write("größe/main.exr")
    lines = (
        "# Einstellungen für diesen Rechner",
        f"FARMHAUL_REDIS_URL='{redis_server.url}'",
        "FARMHAUL_STORAGE_ROOTS='P:\\größe;\\\\server\\prod'",
        "FARMHAUL_SPOOL='P:\\spool of hooks'",
    )
    text = "".join(f"{line}\r\n" for line in lines)
    installed.pyz.with_name("hook.env").write_bytes(text.encode(encoding))

    installed.enqueue("P:\\größe\\main.exr")

    assert len(take(redis_server)) == 1
    line = installed.refuse("P:\\other.exr")
    assert "outside the storage roots (P:\\größe;" in line or "no such file" in line


def test_settings_in_a_code_page_are_refused_and_the_request_is_kept(installed: Hook) -> None:
    text = "FARMHAUL_SPOOL='P:\\spool'\r\nFARMHAUL_STORAGE_ROOTS='P:\\größe'\r\n"
    settings = installed.pyz.with_name("hook.env")
    settings.write_bytes(text.encode("cp1252"))

    done = installed.run("enqueue", "P:\\main.exr", "--version-id", VERSION)

    assert done.code == 3
    assert "hook.env: line 2 is not UTF-8 text; save the file as UTF-8" in done.said
    [kept] = (installed.prod / "spool" / "manifests").glob("*.jsonl")
    assert json.loads(kept.read_bytes())["path"] == "P:/main.exr"


def test_settings_that_cannot_be_read_are_named_with_the_user(installed: Hook) -> None:
    # A folder of this name cannot be read by anybody, root included.
    settings = installed.pyz.with_name("hook.env")
    settings.mkdir()

    done = installed.run(
        "enqueue", "P:\\main.exr", "--version-id", VERSION,
        FARMHAUL_SPOOL="P:\\spool",
    )  # fmt: skip

    assert done.code == 3
    assert "hook.env cannot be read by the user root" in done.said
    assert len(list((installed.prod / "spool" / "manifests").glob("*.jsonl"))) == 1


def test_a_variable_names_the_file_of_settings(
    installed: Hook, redis_server: RedisServer, tmp_path: Path
) -> None:
    installed.write("main.exr")
    settings = tmp_path / "settings of this farm.env"
    settings.write_text(f"FARMHAUL_REDIS_URL={redis_server.url}\nFARMHAUL_STORAGE_ROOTS='P:\\'\n")
    installed.env["FARMHAUL_HOOK_ENV"] = windows_path(settings)

    installed.enqueue("P:\\main.exr")

    assert len(take(redis_server)) == 1
    installed.env["FARMHAUL_HOOK_ENV"] = "P:\\nothing.env"
    done = installed.run("enqueue", "P:\\main.exr", "--version-id", VERSION)
    assert done.code == 3
    assert "FARMHAUL_HOOK_ENV: there is no file P:\\nothing.env" in done.said
