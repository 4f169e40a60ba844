"""``farmhaul watch`` shows uploads as they change: as a table on a terminal, as lines in a pipe."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.records.states import STAGES
from tests.farm import BIN, Farm, heed_sigint, wait_until
from tests.helpers.imports import loaded_by
from tests.helpers.redis_traffic import commands_done
from tests.helpers.screen import COLUMNS, LINES, Screen
from tests.sandbox import RedisServer, seed

#: How the records write a stage: by its number in the chain.
PUT_FILE = STAGES.index("put_file") + 1


@contextmanager
def piped(farm: Farm, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [BIN / "farmhaul", "watch", *arguments],
        env=farm.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_sigint,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def backlog(client: Any, count: int) -> None:
    """Record so many uploads: every other upload_id is active, with a quarter of its bytes sent."""
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        state = "active" if number % 2 else "pending"
        fields = {
            "state": state,
            "stage": PUT_FILE,
            "size": 4000,
            "sent": 1000,
            "worker": "w1@node7",
        }
        pipeline.hset(f"farmhaul:upload:u{number}", mapping=fields)
        pipeline.zadd(f"farmhaul:state:{state}", {f"u{number}": number})
    pipeline.execute()


def test_the_table_shows_uploads_within_80_columns(hook: Farm) -> None:
    first = hook.upload().id
    hook.redis.hset(f"farmhaul:upload:{first}", mapping={"worker": "w1@node7.farm.example.com"})
    deep = hook.make_file("sh010_beauty_\N{CJK UNIFIED IDEOGRAPH-4E00}_v003.1001.exr", 10, "a" * 90)
    [upload] = hook.enqueue(deep, "--component-id", hook.sandbox.ftrack.add_component("x"))
    waiting = str(upload["upload_id"])
    hook.redis.hset(
        f"farmhaul:upload:{waiting}",
        mapping={
            "state": "retrying", "due": 1795531208, "error": "\x1b[2Jthe store is away",
            "tries:ServiceUnavailableError": 2,
        },
    )  # fmt: skip
    hook.redis.zrem("farmhaul:state:pending", waiting)
    hook.redis.zadd("farmhaul:state:retrying", {waiting: 1})
    hook.redis.hset("farmhaul:gate:store", mapping={"until": 2, "since": 1795531208})
    backlog(hook.redis, 6)
    screen = Screen(hook)
    wait_until(lambda: "gate closed" in screen.last, describe=lambda: screen.text)
    shown = screen.last

    assert screen.interrupt() == 130
    [row, *_] = [line for line in shown.splitlines() if line.startswith("put ")]
    assert "━╌╌╌╌  25%" in row
    assert row.rstrip().endswith(" node7")
    assert r"try 3: \x1b[2J" in shown
    assert "…" in shown
    assert "_v003.1001.exr" in shown
    assert "4 pending, 3 active, 1 retrying" in shown
    assert "0 workers  gate closed: store since" in shown
    assert all(len(line.rstrip()) <= COLUMNS for line in screen.text.splitlines()), screen.text
    assert b"\x1b[?25h" in screen.raw  # the cursor is back


def test_no_color_turns_colours_off(hook: Farm) -> None:
    upload_id = hook.upload().id
    hook.cli("cancel", upload_id)
    hook.redis.hset(f"farmhaul:upload:{upload_id}", "state", "failed")
    colour = re.compile(rb"\x1b\[(?:[0-9;]*;)?[349][0-7](?:;[0-9;]*)?m")

    plain, coloured = Screen(hook, upload_id, NO_COLOR="1"), Screen(hook, upload_id)

    assert (plain.wait(), coloured.wait()) == (4, 4)
    assert colour.search(coloured.raw)
    assert not colour.search(plain.raw)


@pytest.mark.slow
def test_a_watch_of_ten_thousand_uploads_costs_few_commands(
    hook: Farm, redis_server: RedisServer
) -> None:
    # A Redis of its own, because the workers of other tests use the sandbox's.
    hook.env["FARMHAUL_REDIS_URL"] = redis_server.url
    with redis_server.client() as client:
        backlog(client, 10_000)
        screen = Screen(hook)
        wait_until(lambda: "5000 pending, 5000 active" in screen.last)
        shown = screen.text.count("5000 pending")
        before = commands_done(client)
        wait_until(lambda: screen.text.count("5000 pending") >= shown + 3)
        spent = commands_done(client) - before
    screen.interrupt()

    # Between the two counts lie at most four polls; 10,000 rows would be 10,000 commands each.
    assert spent <= 4 * (25 + LINES), spent


def test_named_uploads_are_printed_until_they_have_ended(farm: Farm) -> None:
    with farm.frozen():
        upload_id = farm.upload().id
        with piped(farm, upload_id) as process:
            assert process.stdout
            first = process.stdout.readline()
            for worker in farm.workers:
                worker.thaw()
            rest, err = process.communicate(timeout=60)

    assert re.fullmatch(rf"\d\d:\d\d:\d\d \S+  pending +{upload_id} .*main\.exr\n", first)
    assert f"located    {upload_id}" in rest.splitlines()[-1]
    assert (process.returncode, err) == (0, "")


def test_watch_and_wait_exit_with_4_if_an_encoding_fails(hook: Farm) -> None:
    path = hook.make_file("cut.mov", 10)
    what = (path, "--version-id", hook.sandbox.ftrack.version_id, "--encode")
    upload_id = str(hook.enqueue(*what)[0]["upload_id"])
    key = f"farmhaul:upload:{upload_id}"
    hook.redis.hset(key, mapping={"state": "located", "jobs": "j", "job_state": "running"})
    with piped(hook, upload_id) as process:
        assert process.stdout
        assert "encoding running" in process.stdout.readline()
        hook.redis.hset(key, "job_state", "failed")
        rest, _ = process.communicate(timeout=60)
    assert "encoding failed" in rest
    assert process.returncode == 4
    command = [str(BIN / "farmhaul"), "enqueue", *map(str, what), "--wait"]
    with subprocess.Popen(
        command, env=hook.environment(), stderr=subprocess.PIPE, text=True
    ) as waiting:
        wait_until(lambda: hook.redis.llen("farmhaul:inbox"))
        hook.take_in()
        # What a worker would write once ftrack has said that the file is still there.
        hook.redis.hset(key, mapping={"state": "located", "jobs": "j", "job_state": "failed"})
        _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 4
    assert f"farmhaul: {path}: located, but " in said


def test_without_names_each_change_is_a_line_until_ctrl_c(hook: Farm) -> None:
    kept = hook.upload().id
    hook.redis.lpush("farmhaul:inbox", "not taken in")
    with piped(hook) as process:
        assert process.stdout
        assert process.stdout.readline().endswith("  1 pending, 1 in the inbox\n")
        new = hook.upload().id
        hook.cli("cancel", kept)
        missing = {f"pending    {new}", f"cancelled  {kept}"}
        # Changes in the second in which watch began are printed too.
        for line in process.stdout:
            missing -= {change for change in missing if change in line}
            if not missing:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert missing == set()
    assert process.returncode == 130


def test_watch_outlives_a_restart_of_redis(make_farm: Any, tmp_path: Path) -> None:
    farm: Farm = make_farm(workers=0)
    upload_id = farm.upload().id
    with piped(farm, upload_id) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        farm.sandbox.redis.stop()
        away = process.stderr.readline()
        farm.sandbox.redis.start()
        back = process.stderr.readline()
        farm.cli("cancel", upload_id)
        rest, _ = process.communicate(timeout=60)

    assert "Redis is not reachable" in away
    assert back == "farmhaul: Redis is back\n"
    assert f"cancelled  {upload_id}" in rest
    assert process.returncode == 4


def test_an_unknown_id_is_bad_input(hook: Farm) -> None:
    done = hook.cli("watch", "nobody")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("farmhaul: no upload nobody is known here")


def test_what_no_worker_has_taken_in_is_said_to_be_in_the_inbox(hook: Farm) -> None:
    asked = hook.cli(
        "enqueue", hook.make_file("sh010.exr", 10), "--version-id", seed.VERSION_ID, "--json"
    )
    says = "it may be in the inbox, where 1 entry waits, the oldest for "

    for command in ("status", "watch"):
        for word in ("sh010", json.loads(asked.stdout)["upload_id"]):
            done = hook.cli(command, word)
            assert done.returncode == 2
            assert says in done.stderr, word
            assert "; no worker takes tasks" in done.stderr, word


def test_a_cold_start_of_the_command_does_not_import_rich() -> None:
    assert "rich" not in loaded_by("import workers.cli")


def test_json_lines_hold_no_word_on_gates(hook: Farm) -> None:
    upload = hook.upload().id
    hook.cli("cancel", upload)
    until = float(hook.redis.time()[0]) + 1000
    hook.redis.hset("farmhaul:gate:store", mapping={"since": until - 2000, "until": until})

    done = hook.cli("watch", upload, "--json")

    assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["cancelled"]
    assert "farmhaul: the gate of store is closed" in done.stderr
