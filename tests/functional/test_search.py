"""Uploads are found from the shell: by words, paths, hosts, times and states."""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.records import index
from tasks.records.fetches import Fetches
from tasks.records.scripts import Scripts
from tests.farm import BIN, Farm
from tests.helpers.many_records import fill
from tests.sandbox import RedisServer
from workers.cli import output, status
from workers.cli.group import cli
from workers.cli.records import person

SHOT = "/mnt/show/sq003/sh0003"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Redis with five hundred records."""
    one = RedisServer(tmp_path_factory.mktemp("redis"))
    one.start()
    client = one.client()
    fill(Scripts(client, Codec([])), 500)
    yield one
    one.stop()


@pytest.fixture
def run(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command, and returns its lines."""
    monkeypatch.setenv("FARMHAUL_REDIS_URL", server.url)
    monkeypatch.setenv("COLUMNS", "80")

    def lines(*arguments: str | Path, code: int = 0) -> list[str]:
        done = CliRunner().invoke(cli, [str(one) for one in arguments])
        assert done.exit_code == code, done.output
        return done.stdout.splitlines()

    return lines


def states(lines: list[str]) -> dict[str, int]:
    rows = [json.loads(line)["state"] for line in lines]
    return {state: rows.count(state) for state in {*rows}}


SOME = {"failed": 2, "retrying": 1, "pending": 3, "cancelled": 1, "located": 93}


def test_a_shot_is_found_in_all_the_ways_that_people_name_it(run: Any) -> None:
    [version] = {json.loads(line)["version_id"] for line in run("status", "sh0003")}

    for asked in (
        ["sh0003", "beauty"],
        [SHOT],
        [f"{SHOT}/render/*/sh0003*"],
        ["--shot", SHOT],
        ["--version", version],
        [version.upper(), "--since", "2h"],
        [version],
    ):
        assert states(run("status", *asked)) == SOME, asked
    assert states(run("status", "sh0003", "--state", "failed")) == {"failed": 2}
    assert states(run("status", "sh0003", "--failed")) == {"failed": 2}
    assert states(run("status", "--shot", SHOT, "--host", "node001")) == {"located": 1}
    assert run("status", SHOT, "--since", "2030-01-01") == []


def test_a_table_summarizes_many_and_keeps_to_the_screen(run: Any) -> None:
    table = run("status", "--shot", "/mnt/show", "--format", "table", "--limit", "3")

    assert len(table) == 3 + 2 + 3 * 3 + 1
    assert table[2] == (
        "/mnt/show/sq002/sh0002/render/beauty  93 of 100 located, 2 failed, 16.8 MB"
    )
    assert table[3:5] == ["and 2 more folders", "the first 3 of 500; --limit N shows more:"]
    assert table[5].startswith("failed       0 %   168.0 kB  …")
    assert table[5].endswith(".exr")
    # Why, since when, and how to see more of it.
    assert table[6].strip().startswith("the file /mnt/show is missing on 3 nodes")
    assert re.fullmatch(r" +\d+ (s|min) old: farmhaul status [0-9a-f-]{36}", table[7])
    assert table[-1] == "10 failed, 5 retrying, 15 pending, 465 located, 5 cancelled"
    assert max(map(len, (*table[:6], table[7], table[-1]))) <= 80
    by_version = run("status", "--shot", "/mnt/show", "--format", "table", "--by", "version")
    assert by_version[0].startswith("00000000-0000-0000-0000-0000000000")


def test_a_table_keeps_to_a_narrow_screen(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("status", "--shot", "/mnt/show", "--state", "located", "--format", "table")
    for width, columns in ((40, "located    100 %  "), (32, "located    ")):
        monkeypatch.setenv("COLUMNS", str(width))

        table = run(*words, "--limit", "3")

        rows = table[-4:-1]
        assert table[0].endswith("/beauty")
        assert table[1] == "  93 of 93 located, 15.6 MB"
        assert max(map(len, (*table[:2], *rows))) <= width, table
        assert all(row.startswith(columns) and row.endswith(".exr") for row in rows), table


def test_a_table_of_a_state_ends_where_a_person_stops_reading(run: Any) -> None:
    counts = "15 pending, 5 retrying, 465 located, 10 failed, 5 cancelled"

    table = run("status", "--format", "table", "--limit", "3")

    folder = "/mnt/show/sq{0:03}/sh{0:04}/render/beauty"
    summary = [f"{folder.format(shot)}  0 of 4 located, 672.0 kB" for shot in range(3)]
    assert table[:5] == [
        *summary,
        "and 2 more folders",
        "the first 3 of 20; --limit N shows more:",
    ]
    # Each has why it waits, and how to see more of it.
    assert [line.split()[0] for line in table[5:-1:3]] == ["retrying"] * 3
    assert table[-1] == counts
    assert max(map(len, [*table[:6], table[7], table[-1]])) <= 80
    lines = run("status", "--format", "lines", "--limit", "3")
    assert (len(lines), lines[-1]) == (20 + 1, counts)
    failed = run("status", "--failed", "--format", "table", "--limit", "3")
    assert (failed[0], failed[-1]) == (
        "10 x FileNotReadyError: the file is not there, not readable, or empty",
        "  and 7 more: --limit 10 shows them",
    )
    assert len(failed) == 1 + 3 * 3 + 1
    assert max(map(len, failed[1::3])) <= 80


def test_the_ids_of_versions_and_components_stand_for_uploads(run: Any) -> None:
    one, *_ = [json.loads(line) for line in run("status", "sh0004", "--state", "failed")]
    version, component, upload = one["version_id"], one["component_id"], one["upload_id"]

    assert states(run("status", version, component)) == SOME | {"failed": 3}
    [line] = run("status", component)
    assert json.loads(line)["upload_id"] == upload
    table = run("status", version, "--format", "table", "--limit", "3")
    assert table[0].endswith("93 of 100 located, 2 failed, 16.8 MB")
    assert table[-1] == "2 failed, 1 retrying, 3 pending, 93 located, 1 cancelled"
    # It ends at once, because the component's only upload has ended.
    assert len(run("watch", component, code=4)) == 1
    assert run("status", version, str(uuid.uuid4()), code=1) == []


def test_a_table_says_where_it_ends(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_FOUND", 50)
    monkeypatch.setattr(status, "MOST_READ", 20)

    done = CliRunner().invoke(cli, ["status", SHOT, "--format", "table", "--limit", "3"])

    lines = done.stdout.splitlines()
    assert lines[1:3] == [
        "these folders have the first 20 of 50 or more",
        "the first 3 of 50 or more; --limit N shows more:",
    ]
    said = "farmhaul: there may be more than these 50: ask for less, as by --since"
    assert done.stderr.splitlines()[1:] == [said]
    # What waits has a reason.
    assert done.stderr.startswith("farmhaul: no worker takes tasks, so uploads wait")


def test_one_upload_shows_all_that_is_known_of_it(run: Any) -> None:
    [line] = run("status", "sh0003", "--state", "retrying")
    upload = json.loads(line)

    shown = "\n".join(run("status", upload["upload_id"], "--format", "lines"))

    for name in ("age", "taken in", "next try", "tries", "node", "version", "component"):
        assert f"\n  {name:<9} " in shown
    assert f"asked by  {upload['asked_user']} on {upload['asked_host']}" in shown


def test_status_says_once_that_no_worker_takes_tasks(run: Any) -> None:
    [first, *_] = run("status", "--state", "pending")
    upload_id = json.loads(first)["upload_id"]

    done = CliRunner().invoke(cli, ["status", upload_id, "--format", "lines"])

    assert upload_id in done.stdout
    assert (done.stdout + done.stderr).count("takes tasks") == 1


def test_commands_that_change_something_answer_in_json(run: Any) -> None:
    [one, other] = [json.loads(line)["upload_id"] for line in run("status", "sh0002", "--failed")]

    # In processes of their own: other tests have given this one's application other queues.
    retried, cancelled, limits = (
        subprocess.run([BIN / "farmhaul", *arguments], capture_output=True, check=True).stdout
        for arguments in (
            ["retry", one, "--json"],
            ["cancel", other, "--format", "json"],
            ["limit", "--json"],
        )
    )

    assert json.loads(retried) == {"upload_id": one, "state": "pending"}
    assert json.loads(cancelled) == {"upload_id": other, "state": "cancelled"}
    [line] = run("status", other, "--json")
    [act] = json.loads(line)["acts"]
    assert (act["what"], act["who"]) == ("cancelled", person())
    assert act["at"] > 0
    ours = [
        f"{name}{what}" for name in ("bandwidth", "api_rate") for what in ("", "_now", "_until")
    ]
    assert json.loads(limits) == dict.fromkeys([*ours, "zone"])


def test_two_forms_at_once_are_refused(run: Any, tmp_path: Path) -> None:
    both = ["--format", "table", "--json"]
    why = "--json is --format json, not table: leave one of them out"

    for command in ("status", "limit", "watch", "retry x", "cancel x", "doctor", "check x"):
        result = CliRunner().invoke(cli, [*command.split(), *both])
        assert (str(result.exception), result.stdout) == (why, ""), command
    for command in ("status", f"enqueue {tmp_path} --component-id x", "flush-spool"):
        done = subprocess.run([BIN / "farmhaul", *command.split(), *both], capture_output=True)
        assert done.returncode == 2
        assert (done.stdout, done.stderr.decode()) == (b"", f"farmhaul: {why}\n")
    assert run("limit", "--format", "json", "--json") == run("limit", "--json")


def test_what_nobody_can_mean_is_refused(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in (
        ("status", "--state", "failed,gone"),
        ("status", "--since", "noon"),
        ("status", "--since", ""),
        ("status", "--shot", " "),
        ("status", ""),
        ("status", "--version", "v003"),
        ("status", "--host", "node*"),
        ("status", *map(str, range(501))),
        ("watch", "sh9"),
    ):
        assert run(*asked, code=1) == []


def test_the_shell_takes_what_the_browser_takes(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [failed, *_] = [json.loads(line) for line in run("status", "sh0003", "--state", "FAILED")]
    start = failed["upload_id"][:8]

    for asked in ([start], [f"{start}…"], [failed["upload_id"].upper()]):
        [line] = run("status", *asked)
        assert json.loads(line)["upload_id"] == failed["upload_id"], asked
    assert run("status", start, "--format", "lines")[1].startswith("  age")
    assert states(run("status", "sh0003", "--state", "failed, Retrying")) == {
        "failed": 2,
        "retrying": 1,
    }
    assert states(run("status", "sh0003 beauty")) == SOME
    assert states(run("status", "host:node001", "sh0003")) == {"located": 1}
    monkeypatch.setenv("FARMHAUL_PATH_MAP", "P:/show=/mnt/show")
    assert states(run("status", r"p:\show\sq003\sh0003")) == SOME
    assert states(run("status", "--shot", r"p:\show\sq003\sh0003\\")) == SOME
    # As a shell writes a glob that nobody has put between quotation marks.
    files = [json.loads(line)["path"] for line in run("status", "sh0003")]
    assert states(run("status", *files)) == SOME
    monkeypatch.chdir(tmp_path)
    assert run("status", ".", code=1) == []


def test_paths_are_shortened_from_the_left() -> None:
    path = "/mnt/show/sq003/sh0003/render/beauty/sh0003_beauty.1001.exr"

    assert output.from_left(path, 30) == "…beauty/sh0003_beauty.1001.exr"
    assert output.from_left(path, 100) == path
    wide = "/mnt/show/日本語ショット/カット_0010_合成.exr"
    assert output.from_left(wide, 24) == "…ト/カット_0010_合成.exr"
    assert output.cells(output.from_left(wide, 23)) <= 23


def test_who_has_another_key_is_told_so(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARMHAUL_REDIS_URL", server.url)
    for key, said in (
        ("", "whole words"),
        (Fernet.generate_key().decode(), "opens no record: set"),
    ):
        monkeypatch.setenv("FARMHAUL_SECRET_KEY", key)
        for command in ("status", "watch"):
            result = CliRunner().invoke(cli, [command, "nobody"])
            assert said in str(result.exception)


@pytest.mark.parametrize("command", ["status", "watch"])
def test_a_word_that_is_no_text_finds_nothing(hook: Farm, command: str) -> None:
    done = hook.cli(command, "\udcff")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_download_that_no_worker_takes_says_so(run: Any, server: RedisServer) -> None:
    assert run("status", "--fetches") == []
    fetches = Fetches(Scripts(server.client(), Codec([])))
    fetch_id, component = str(uuid.uuid4()), str(uuid.uuid4())
    fetches.ask(fetch_id, component, "/mnt/in", who="ada on ws12", asked_at=time.time())

    for asked in (fetch_id, "--fetches"):
        done = CliRunner().invoke(cli, ["status", asked])
        assert json.loads(done.stdout)["state"] == "queued"
        assert done.stderr.startswith("farmhaul: no worker takes tasks")
