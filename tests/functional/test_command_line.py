"""The contract of the command line: output for programs and for people, and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import click
import pytest

from tasks.intake import exit_codes
from tasks.records.keys import upload_key
from tests.farm import BIN, Farm, heed_sigint, wait_until
from workers import cli
from workers.cli import group

UPLOAD_KEYS = ["upload_id", "component_id", "path", "size", "state"]
STATUS_KEYS = [
    *UPLOAD_KEYS, "stage", "sent", "rate", "left_s", "worker", "error", "created", "updated",
    "version_id", "name", "asked_host", "asked_user", "tries", "due", "acts",
]  # fmt: skip


def on_a_terminal(farm: Farm, *arguments: str | Path) -> str:
    """Run the command with a terminal as its stdout; return what it shows."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [str(BIN / "farmhaul"), *map(str, arguments)],
            env=farm.environment(),
            stdin=subprocess.DEVNULL,
            stdout=slave,
        )
    finally:
        os.close(slave)
    shown = b""
    with open(master, "rb", buffering=0) as screen:
        try:
            while block := screen.read(4096):
                shown += block
        except OSError:  # how Linux says that the other end is closed
            pass
    assert process.wait() == 0
    return shown.decode().replace("\r\n", "\n")


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def component(farm: Farm) -> str:
    return farm.sandbox.ftrack.add_component("main.exr")


# enqueue


def test_enqueue_prints_only_a_json_line_for_each_upload(hook: Farm) -> None:
    paths = [hook.make_file(f"{name}.exr", 1000) for name in "ab"]
    version_id = hook.sandbox.ftrack.version_id
    done = hook.cli("enqueue", *paths, "--version-id", version_id)

    assert (done.returncode, done.stderr) == (0, "")
    uploads = lines_of(done)
    assert [list(upload) for upload in uploads] == [UPLOAD_KEYS, UPLOAD_KEYS]
    assert [upload["path"] for upload in uploads] == [str(path) for path in paths]
    assert [(upload["size"], upload["state"]) for upload in uploads] == [(1000, "queued")] * 2
    for upload in uploads:
        uuid.UUID(upload["upload_id"])
        uuid.UUID(upload["component_id"])


def test_the_same_request_gets_the_same_ids(hook: Farm) -> None:
    path = hook.make_file("main.exr", 1000)
    version_id = hook.sandbox.ftrack.version_id
    first = hook.enqueue(path, "--version-id", version_id)
    hook.redis.flushdb()
    assert hook.enqueue(path, "--version-id", version_id.upper()) == first


def test_a_terminal_gets_lines_for_people_without_json(hook: Farm) -> None:
    path = hook.make_file("main.exr", 12_345_678)
    arguments = ("enqueue", path, "--component-id", component(hook))

    shown = on_a_terminal(hook, *arguments)
    asked = on_a_terminal(hook, *arguments, "--json")

    upload = json.loads(asked)
    assert list(upload) == UPLOAD_KEYS
    assert shown.split() == ["queued", upload["upload_id"], "12.3", "MB", str(path)]


def test_a_relative_path_starts_at_the_working_folder(hook: Farm) -> None:
    path = hook.make_file("main.exr", 1000)
    done = subprocess.run(
        [BIN / "farmhaul", "enqueue", "main.exr", "--component-id", component(hook)],
        cwd=path.parent,
        env=hook.environment(),
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["path"] == str(path)


def test_a_manifest_may_be_a_file(hook: Farm) -> None:
    path = hook.make_file("main.exr", 1000)
    entry = {"path": str(path), "component_id": component(hook), "priority": "urgent"}
    manifest = path.with_name("list.jsonl")
    manifest.write_text(f"\n{json.dumps(entry)}\n\n")
    [upload] = hook.enqueue("--manifest", manifest)
    assert upload["component_id"] == entry["component_id"]
    # Urgent uploads have the lowest scores, whenever they are enqueued.
    assert hook.redis.zscore("farmhaul:pending", upload["upload_id"]) < 1e13


# enqueue --wait


def test_wait_returns_when_all_uploads_are_located(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    [upload] = farm.enqueue(path, "--component-id", component(farm), "--wait")
    assert upload["state"] == "located"
    assert farm.sandbox.store.exists(upload["component_id"])
    [again] = farm.enqueue(path, "--component-id", upload["component_id"], "--wait")
    assert again == upload


def test_wait_exits_with_4_and_the_reason_if_an_upload_fails(farm: Farm) -> None:
    good, bad = component(farm), str(uuid.uuid4())
    entries = [
        {"path": str(farm.make_file("main.exr", 1000)), "component_id": component_id}
        for component_id in (bad, good)
    ]
    done = farm.cli(
        "enqueue", "--manifest", "-", "--wait", stdin="\n".join(map(json.dumps, entries))
    )
    assert done.returncode == 4
    assert [line["state"] for line in lines_of(done)] == ["failed", "located"]
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"farmhaul: {entries[0]['path']}: failed: ")
    assert f"component {bad} does not exist in ftrack" in done.stderr
    assert "then: farmhaul retry" in done.stderr


def test_wait_exits_with_4_after_its_timeout(hook: Farm) -> None:
    path = hook.make_file("main.exr", 1000)
    began = time.monotonic()
    done = hook.cli(
        "enqueue", path, "--component-id", component(hook), "--wait", "--timeout", "0.5"
    )
    assert time.monotonic() - began >= 0.5
    assert done.returncode == 4
    assert [line["state"] for line in lines_of(done)] == ["queued"]
    [line] = done.stderr.splitlines()
    assert line == f"farmhaul: {path}: not taken in by any worker"


def test_an_interrupted_wait_exits_with_130_and_keeps_the_upload(hook: Farm) -> None:
    path = hook.make_file("main.exr", 1000)
    process = subprocess.Popen(
        [BIN / "farmhaul", "enqueue", path, "--component-id", component(hook), "--wait"],
        env=hook.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_sigint,
    )
    wait_until(lambda: hook.redis.llen("farmhaul:inbox"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("farmhaul: interrupted")
    hook.take_in()
    assert hook.redis.zcard("farmhaul:pending") == 1


def test_a_reader_may_close_the_pipe_early(hook: Farm) -> None:
    hook.enqueue(hook.make_file("main.exr", 1000), "--component-id", component(hook))
    process = subprocess.Popen(
        [BIN / "farmhaul", "status", "--all"],
        env=hook.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        [line] = process.stderr.read().splitlines()
    assert line.startswith(b"farmhaul: no worker takes tasks")
    assert process.wait() == 0


# status


def test_status_shows_failed_active_and_all_uploads(farm: Farm) -> None:
    bad = str(uuid.uuid4())
    [located] = farm.enqueue(farm.make_file("a.exr", 1), "--component-id", component(farm))
    [failed] = farm.enqueue(farm.make_file("b.exr", 1), "--component-id", bad)
    farm.wait_located([located["upload_id"]])
    farm.wait_state([failed["upload_id"]], "failed")
    with farm.frozen():
        [active] = farm.enqueue(farm.make_file("c.exr", 1), "--component-id", component(farm))

        def ids(*options: str) -> set[str]:
            done = farm.cli("status", *options)
            assert done.returncode == 0
            assert all(list(line) == STATUS_KEYS for line in lines_of(done))
            return {line["upload_id"] for line in lines_of(done)}

        everything = {upload["upload_id"] for upload in (located, failed, active)}
        assert ids("--failed") == {failed["upload_id"]}
        assert ids("--active") == {active["upload_id"]}
        assert ids("--json") == {active["upload_id"]}
        assert ids("--all") == everything
        moved = [line["updated"] for line in lines_of(farm.cli("status", "--all"))]
        assert moved == sorted(moved, reverse=True)
        assert ids(*everything) == everything

        [line] = lines_of(farm.cli("status", failed["upload_id"]))
        assert line["component_id"] == bad
        assert line["path"] == failed["path"]
        assert line["stage"] == "get_put_metadata"
        assert bad in line["error"]
        [line] = lines_of(farm.cli("status", located["upload_id"]))
        assert (line["state"], line["size"], line["error"]) == ("located", 1, "")

        shown = on_a_terminal(farm, "status")
        row, counts = shown.splitlines()
        assert row.startswith("pending ")
        assert row.endswith("/c.exr")
        assert counts == "1 pending, 1 located, 1 failed"
        assert active["upload_id"] in on_a_terminal(farm, "status", "--format", "lines")
        assert bad in on_a_terminal(farm, "status", "--failed")


def test_status_of_an_empty_farm_says_so(hook: Farm) -> None:
    assert on_a_terminal(hook, "status") == "no uploads\n"
    done = hook.cli("status", "--all", "--json")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_program_that_reads_status_gets_only_json_lines(hook: Farm) -> None:
    [upload] = hook.enqueue(hook.make_file("a.exr", 1), "--component-id", component(hook))
    done = hook.cli("status")
    [line] = lines_of(done)
    assert line["upload_id"] == upload["upload_id"]
    assert done.stderr.startswith("farmhaul: no worker takes tasks, so uploads wait"), "no JSON"


def test_a_file_shows_its_progress_and_stops_when_cancelled(farm: Farm) -> None:
    # More than the socket buffers on the way hold. Left alone, it takes half a minute.
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 2e6)
    size = 60_000_000
    path = farm.make_file("main.mov", size)
    [upload] = farm.enqueue(path, "--component-id", component(farm))
    wait_until(lambda: 0 < int(farm.record(upload["upload_id"]).get("sent") or 0) < size)

    [line] = lines_of(farm.cli("status", upload["upload_id"]))
    assert (line["state"], line["stage"]) == ("active", "put_file")
    assert 0 < line["sent"] < size
    assert line["worker"].startswith("w")

    assert farm.cli("cancel", upload["upload_id"]).returncode == 0
    farm.wait_quiet(5)
    assert farm.states([upload["upload_id"]]) == ["cancelled"]
    assert not farm.sandbox.store.exists(upload["component_id"])
    [put] = farm.sandbox.store.puts()
    assert put["status"] != 200


def test_retry_of_all_failed_uploads_leaves_out_one_that_has_expired(hook: Farm) -> None:
    expired = str(uuid.uuid4())
    hook.redis.zadd("farmhaul:state:failed", {expired: 1})
    done = hook.cli("retry", "--failed")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert hook.record(expired) == {}


# Help


def test_a_retry_that_changes_nothing_says_so(hook: Farm) -> None:
    upload = hook.upload()
    hook.take_in()
    hook.redis.hset(upload_key(upload.id), mapping={"state": "retrying", "due": time.time() + 99})

    done = hook.cli("retry", upload.id)

    assert (done.returncode, done.stdout) == (0, f"{upload.id} retrying\n")
    assert done.stderr.startswith(f"farmhaul: {upload.id} is tried again by itself at ")
    assert done.stderr.endswith(": to try it at once, cancel it, then retry it\n")
    hook.redis.hset(upload_key(upload.id), "state", "pending")
    assert hook.cli("retry", upload.id).stderr == ""
    assert hook.cli("retry", "--failed").stderr == "farmhaul: no uploads have failed\n"


def test_a_usage_error_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["enqueue", "--no-such-option"])
    assert end.value.code == exit_codes.BAD_INPUT
    shown = capsys.readouterr()
    assert shown.out == ""
    line, hint = shown.err.splitlines()
    assert line.startswith("farmhaul: ")
    assert "--no-such-option" in line
    assert hint == "farmhaul: Try 'farmhaul enqueue --help' for help."


@pytest.mark.parametrize("command", sorted(group.COMMANDS.keys() - {"worker"}))
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "-h"])
    shown = capsys.readouterr()
    assert (end.value.code, shown.err) == (0, "")
    assert shown.out.startswith(f"Usage: farmhaul {command} ")
    assert f"\n  farmhaul {command}" in shown.out, "an example"


@pytest.mark.parametrize("command", group.COMMANDS)
def test_the_line_of_a_command_is_how_its_help_begins(command: str) -> None:
    described = group.cli.get_command(click.Context(group.cli), command)
    assert described is not None
    _, line = group.COMMANDS[command]
    assert " ".join((described.help or "").split()).startswith(line.removesuffix("."))


def test_help_names_all_commands_and_needs_no_environment(hook: Farm) -> None:
    done = hook.cli("--help", env={"FARMHAUL_STORAGE_ROOTS": "wrong", "FARMHAUL_REDIS_URL": "x"})
    assert done.returncode == 0
    for command in group.COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_the_help_of_worker_is_that_of_celery(hook: Farm) -> None:
    done = hook.cli("worker", "--help")
    assert done.returncode == 0
    assert "--concurrency" in done.stdout


def test_without_a_command_the_help_is_shown(hook: Farm) -> None:
    done = hook.cli()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == hook.cli("--help").stdout


def test_the_version_is_that_of_the_package(hook: Farm) -> None:
    from importlib.metadata import version

    assert hook.cli("--version").stdout.split()[-1] == version("farmhaul")


def test_a_timeout_without_a_wait_is_bad_input(hook: Farm) -> None:
    path = hook.make_file("main.exr", 10)
    component_id = str(uuid.uuid4())
    done = hook.cli("enqueue", path, "--component-id", component_id, "--timeout", "5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--timeout" in done.stderr
    assert "--wait" in done.stderr


def test_wait_exits_with_4_if_the_upload_was_spooled(hook: Farm, tmp_path: Path) -> None:
    path = hook.make_file("main.exr", 10)
    away = {"FARMHAUL_REDIS_URL": "redis://127.0.0.1:1/0", "FARMHAUL_SPOOL": str(tmp_path / "s")}
    arguments = ("enqueue", path, "--component-id", str(uuid.uuid4()), "--wait")
    done = hook.cli(*arguments, env=away)
    assert done.returncode == 4
    assert json.loads(done.stdout)["state"] == "spooled"


def test_people_see_failures_by_kind_with_their_reasons(farm: Farm) -> None:
    paths = [farm.make_file(f"{n}.exr", 10) for n in range(2)]
    with farm.frozen():
        ids = [
            farm.enqueue(path, "--component-id", str(uuid.uuid4()))[0]["upload_id"]
            for path in paths
        ]
        for path in paths:
            path.unlink()
            path.mkdir()
    farm.wait_state(ids, "failed")
    first, *others = on_a_terminal(farm, "status", "--failed").splitlines()
    assert first == "2 x FileRefusedError: the file cannot be uploaded as it is"
    assert len(others) == 2 * 3
    assert all("is a directory; name the files in it" in line for line in others[1::3])


def test_an_output_that_cannot_be_written_is_no_traceback(hook: Farm) -> None:
    def run(line: str, **variables: str) -> tuple[int, str, str]:
        env = hook.environment() | variables
        done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    command = f"{BIN}/farmhaul status --format table"  # says no time of day, as limit does
    code, whole, _ = run(command)
    assert code == 0
    full = "farmhaul: the output cannot be written: No space left on device\n"
    assert run(f"{command} > /dev/full") == (1, "", full)
    assert run(f"{command} >&-") == (0, "", "")
    assert run(f"{command} 2>&-") == (0, whole, "")
    assert run(f"{BIN}/farmhaul retry x 2>&-") == (2, "", "")  # no error in what programs read
    code, _, said = run(f"{BIN}/farmhaul status …", PYTHONIOENCODING="latin-1")
    assert (code, "\\u2026" in said) == (2, True)


def test_a_pipe_that_a_person_has_typed_has_lines_for_people(farm: Farm) -> None:
    upload = farm.upload()
    farm.wait_located([upload.id])
    master, terminal = pty.openpty()

    def shown(*options: str, stderr: int = terminal) -> str:
        command = [str(BIN / "farmhaul"), "status", upload.id, *options]
        return subprocess.run(
            command, env=farm.environment(), stdout=subprocess.PIPE, stderr=stderr,
            text=True, check=True,
        ).stdout  # fmt: skip

    typed, asked = shown(), shown("--json")
    run = shown(stderr=subprocess.DEVNULL)
    os.close(terminal)
    os.close(master)

    assert typed.startswith(f"located    {upload.id}  ")
    assert asked == run
    assert json.loads(run)["upload_id"] == upload.id
