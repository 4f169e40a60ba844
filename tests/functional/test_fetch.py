"""farmhaul fetch: files of ftrack.server arrive on a node's disk whole, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet

from tasks.config.settings import Settings
from tasks.records.fetches import Fetches, FetchState
from tasks.records.keys import fetch_key
from tasks.records.scripts import open_scripts
from tasks.stage import download_progress
from tasks.stage.download_progress import Progress, UnwantedError
from tasks.transfer.get import Fetched
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.part_file import part_name_of
from tests.farm import BIN, Farm, heed_sigint, wait_until
from tests.functional.conftest import MakeFarm
from tests.helpers.redis_traffic import everything_said_to, values_of
from tests.helpers.screen import Screen
from tests.sandbox import RedisServer, Sandbox, seed
from tests.sandbox.official import official_client
from tests.sandbox.process import CHECKOUT
from workers.cli.fetch_task import fetch_line
from workers.cli.watch_fetches import _until_ended

MB = 1_000_000


def add_file(sandbox: Sandbox, content: bytes, name: str = "plate", **data: Any) -> str:
    """A component whose bytes are in ftrack.server."""
    described = {"file_type": ".exr", "version_id": seed.VERSION_ID, "size": len(content), **data}
    component_id = str(sandbox.ftrack.create("FileComponent", name=name, **described)["id"])
    sandbox.store.write(component_id, content)
    locate(sandbox, component_id)
    return component_id


def locate(sandbox: Sandbox, component_id: str) -> None:
    sandbox.ftrack.create(
        "ComponentLocation",
        component_id=component_id,
        location_id=seed.SERVER_LOCATION_ID,
        resource_identifier=component_id,
    )


def fetch(farm: Farm, folder: Path, *ids: str, code: int = 0) -> list[dict[str, Any]]:
    done = farm.cli("fetch", *ids, "--to", folder)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert seed.API_KEY not in output
    assert "X-Amz-" not in output
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetched_bytes_equal_those_of_the_official_client(hook: Farm, tmp_path: Path) -> None:
    content = random.randbytes(300_000)
    component_id = add_file(hook.sandbox, content, "plaque été 100%")

    [line] = fetch(hook, tmp_path, component_id.upper())

    with official_client(hook.sandbox) as session:
        location = session.get("Location", seed.SERVER_LOCATION_ID)
        with contextlib.closing(location.accessor.open(component_id)) as opened:
            theirs = opened.read()
    assert (tmp_path / "plaque été 100%.exr").read_bytes() == theirs == content
    path = str(tmp_path / "plaque été 100%.exr")
    assert line == {"component_id": component_id, "path": path, "size": 300_000, "state": "fetched"}
    for request in hook.sandbox.store.gets(component_id):
        assert not {name for name in request["headers"] if "ftrack" in name}


def test_the_same_file_is_kept_and_a_different_one_is_replaced(hook: Farm, tmp_path: Path) -> None:
    component_id = add_file(hook.sandbox, b"the plate")
    target = tmp_path / "out" / "plate.exr"
    target.parent.mkdir()
    target.write_bytes(b"THE PLATE")
    assert fetch(hook, target.parent, component_id)[0]["state"] == "fetched"
    inode = target.stat().st_ino

    assert fetch(hook, target.parent, component_id)[0]["state"] == "present"

    assert target.stat().st_ino == inode
    assert target.read_bytes() == b"the plate"
    assert names(target.parent) == ["plate.exr"]


def test_a_sequence_is_fetched_with_padded_frame_numbers(hook: Farm, tmp_path: Path) -> None:
    sandbox, out = hook.sandbox, tmp_path / "out"
    out.mkdir()
    sequence = sandbox.ftrack.create(
        "SequenceComponent", name="sh010", file_type=".exr", padding=4, version_id=seed.VERSION_ID
    )["id"]
    frames = {f"sh010.{number:04}.exr": random.randbytes(1000) for number in (7, 8, 1001)}
    for name, content in frames.items():
        number = str(int(name.split(".")[1]))
        add_file(sandbox, content, number, container_id=sequence, version_id=None)

    lines = fetch(hook, out, sequence)

    assert {path.name: path.read_bytes() for path in out.iterdir()} == frames
    assert {line["state"] for line in lines} == {"fetched"}


def test_files_come_back_under_the_names_that_were_enqueued(farm: Farm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    patterns = (
        "sim.%04d.bgeo.sc",
        "v.%04d.vdb.gz",
        "b.%04d_left.exr",
        "b.%04d_right.exr",
        "sim.%04d",
    )
    single = ("b.left.exr", "one.0001", "plate.jpg", "depth/z.1001.exr")
    paths = [pattern.replace("%04d", number) for pattern in patterns for number in ("0001", "0002")]
    folder = farm.make_file("sh 010.mov", 100).parent
    for name in (*paths, *single):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(random.randbytes(2000))

    asked = [folder / name for name in (*patterns, "sh 010.mov", *single)]
    uploads = farm.enqueue(*asked, "--version-id", farm.sandbox.ftrack.version_id, "--wait")
    fetch(farm, out, *(upload["component_id"] for upload in uploads))

    rendered = {path.name: path.read_bytes() for path in folder.rglob("*.*")}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == rendered
    assert len(rendered) == 15


def test_a_killed_fetch_is_continued_and_never_shows_the_key(hook: Farm, tmp_path: Path) -> None:
    content, sandbox, out = random.randbytes(6 * MB), hook.sandbox, tmp_path / "out"
    out.mkdir()
    component_id = add_file(sandbox, content)
    slow = sandbox.faults.add("store", "bandwidth_bytes_s", 3e5, method="GET")
    part, note = out / f".{component_id}.part", out / f".{component_id}.etag"
    command: list[str | Path] = [BIN / "farmhaul", "fetch", component_id, "--to", out]
    process = subprocess.Popen(command, env=hook.environment(), cwd=CHECKOUT)
    wait_until(lambda: note.exists() and note.read_text() and part.stat().st_size > 2 * MB)
    shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.kill()
    process.wait()
    there = part.stat().st_size
    sandbox.faults.remove(slow)

    fetch(hook, out, component_id)

    assert seed.API_KEY.encode() not in shown
    assert (out / "plate.exr").read_bytes() == content
    assert names(out) == ["plate.exr"]
    last = sandbox.store.gets(component_id)[-1]
    assert last["status"] == 206
    assert last["answer_bytes"] == 6 * MB - there + 1
    assert there > 2 * MB - 1


def test_an_interrupted_fetch_exits_and_keeps_the_partial_file(hook: Farm, tmp_path: Path) -> None:
    sandbox, out = hook.sandbox, tmp_path / "out"
    out.mkdir()
    component_id = add_file(sandbox, random.randbytes(6 * MB))
    sandbox.faults.add("store", "bandwidth_bytes_s", 2e6, method="GET")
    part = out / f".{component_id}.part"
    command: list[str | Path] = [BIN / "farmhaul", "fetch", component_id, "--to", out]
    process = subprocess.Popen(
        command,
        env=hook.environment(),
        cwd=CHECKOUT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_sigint,
    )
    wait_until(lambda: part.exists() and part.stat().st_size > MB)

    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=30)

    assert process.returncode == 130
    assert output.startswith("farmhaul: interrupted")
    assert MB < part.stat().st_size < 6 * MB


def test_a_changed_file_is_fetched_from_its_start(hook: Farm, tmp_path: Path) -> None:
    sandbox, out = hook.sandbox, tmp_path / "out"
    out.mkdir()
    component_id = add_file(sandbox, b"old" * 1000)
    (out / f".{component_id}.part").write_bytes(b"old" * 500)
    old = hashlib.md5(b"old" * 1000).hexdigest()
    (out / f".{component_id}.etag").write_text(f'"{old}"')
    sandbox.store.write(component_id, b"new" * 1000)

    fetch(hook, out, component_id)

    assert (out / "plate.exr").read_bytes() == b"new" * 1000


def test_a_cut_an_outage_and_an_expired_url_are_retried(hook: Farm, tmp_path: Path) -> None:
    content, sandbox, out = random.randbytes(2 * MB), hook.sandbox, tmp_path / "out"
    out.mkdir()
    component_id = add_file(sandbox, content)
    numbers = [
        sandbox.faults.add("store", "reset", times=1, skip=1, method="GET", after_bytes=MB),
        sandbox.faults.add("ftrack", "status", 503, times=1, method="GET"),
        sandbox.faults.add("ftrack", "url_lifetime_s", 0, times=1, skip=1, method="GET"),
    ]

    fetch(hook, out, component_id)

    assert (out / "plate.exr").read_bytes() == content
    assert [sandbox.faults.struck(number) for number in numbers] == [1, 1, 1]
    assert sandbox.store.gets(component_id)[-1]["status"] == 206


def test_bytes_with_another_md5_never_get_the_files_name(hook: Farm, tmp_path: Path) -> None:
    sandbox, out = hook.sandbox, tmp_path / "out"
    out.mkdir()
    bad, good = add_file(sandbox, b"bad" * 1000), add_file(sandbox, b"good", "good")
    sandbox.faults.add("store", "bad_digest", method="GET", component_id=bad)

    lines = fetch(hook, out, bad, good, code=4)

    assert {line["component_id"]: line["state"] for line in lines} == {
        bad: "failed",
        good: "fetched",
    }
    assert "plate.exr" not in names(out)


def test_two_concurrent_fetches_download_the_file_once(hook: Farm, tmp_path: Path) -> None:
    content, sandbox, out = random.randbytes(4 * MB), hook.sandbox, tmp_path / "out"
    out.mkdir()
    component_id = add_file(sandbox, content)
    sandbox.faults.add("store", "bandwidth_bytes_s", 4e6, method="GET")
    command: list[str | Path] = [BIN / "farmhaul", "fetch", component_id, "--to", out]

    both = [
        subprocess.Popen(command, env=hook.environment(), cwd=CHECKOUT, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    output = [process.communicate()[0] for process in both]

    states = [json.loads(line)["state"] for line in output]
    assert sorted(states) == ["fetched", "present"]
    assert (out / "plate.exr").read_bytes() == content
    assert names(out) == ["plate.exr"]


def test_bad_input_is_refused_and_nothing_is_fetched(hook: Farm, tmp_path: Path) -> None:
    sandbox = hook.sandbox
    out = tmp_path / "out"
    out.mkdir()
    there = add_file(sandbox, b"x")
    elsewhere = sandbox.ftrack.add_component("main.exr")
    twin = add_file(sandbox, b"y")
    unknown = str(uuid.uuid4())
    cases = {
        ("nonsense",): "not a UUID",
        (unknown,): unknown,
        (there, elsewhere): "not in ftrack.server",
        (there, twin): "plate.exr",
    }
    for ids, expected in cases.items():
        done = hook.cli("fetch", *ids, "--to", out)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert expected in done.stderr
    missing = hook.cli("fetch", there, "--to", tmp_path / "none")
    keyless = dict.fromkeys(("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY"))
    bare = hook.cli("fetch", there, "--to", out, env=keyless)
    wrong = hook.cli("fetch", there, "--to", out, env={"FTRACK_API_KEY": "not-the-key"})
    outside = hook.cli("fetch", there, "--to", out, "--enqueue")

    assert "No such file" in missing.stderr
    assert "FTRACK_API_KEY are not set" in bare.stderr
    assert "refuses FTRACK_API_USER" in wrong.stderr
    assert "not-the-key" not in wrong.stderr
    assert "FARMHAUL_STORAGE_ROOTS" in outside.stderr
    assert {done.returncode for done in (missing, bare, wrong, outside)} == {2}
    assert names(out) == []


def test_a_worker_fetches_an_enqueued_file_despite_an_outage(farm: Farm) -> None:
    sandbox = farm.sandbox
    content = random.randbytes(100_000)
    component_id = add_file(sandbox, content)
    out = farm.make_file("other.txt", b"x").parent
    number = sandbox.faults.add("store", "status", 503, times=1, method="GET")

    with everything_said_to(farm.redis) as wire:
        done = farm.cli("fetch", component_id, "--to", out, "--enqueue")
        wait_until((out / "plate.exr").exists)
        farm.wait_quiet()
        held = values_of(farm.redis)

    [line] = [json.loads(text) for text in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert line["component_id"] == component_id
    assert sandbox.faults.struck(number) == 1
    assert (out / "plate.exr").read_bytes() == content
    logs = "".join(worker.log_text() for worker in farm.workers)
    assert seed.API_KEY not in wire.text + held + logs
    assert "X-Amz-" not in wire.text + held + logs


@pytest.mark.parametrize("options", [(), ("--enqueue",)], ids=["command", "worker"])
def test_a_download_counts_against_the_bandwidth(
    make_farm: MakeFarm, options: tuple[str, ...]
) -> None:
    farm = make_farm(workers=1, env={"FARMHAUL_BANDWIDTH": "2M"})
    component_id = add_file(farm.sandbox, random.randbytes(MB))
    out = farm.make_file("other.txt", b"x").parent

    with everything_said_to(farm.redis) as wire:
        done = farm.cli("fetch", component_id, "--to", out, *options)
        wait_until((out / "plate.exr").exists)

    # A loaded machine makes it slower, and never faster. The last write needs all pieces.
    assert done.returncode == 0, done.stderr
    written = re.compile(r"SET farmhaul:bucket:bandwidth ([\d.]+)")
    booked = [float(match[1]) for line in wire.lines if (match := written.search(line))]
    first = booked[0] - (256 << 10) / 2e6
    assert booked[-1] - first >= MB / 2e6 - 1e-4
    arrived = (out / "plate.exr").stat().st_mtime
    assert arrived >= first + (MB - (256 << 10)) / 2e6 - 0.02  # clocks are rounded


def test_with_a_secret_key_not_even_a_retry_shows_a_path(make_farm: MakeFarm) -> None:
    farm = make_farm(env={"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode()})
    component_id = add_file(farm.sandbox, b"secret name")
    out = farm.make_file("other.txt", b"x", f"hush-{uuid.uuid4()}").parent
    number = farm.sandbox.faults.add("store", "status", 503, times=1, method="GET")

    with everything_said_to(farm.redis) as wire:
        farm.cli("fetch", component_id, "--to", out, "--enqueue")
        wait_until((out / "plate.exr").exists)
        farm.wait_quiet()

    assert farm.sandbox.faults.struck(number) == 1
    assert component_id in wire.text
    assert "hush-" not in wire.text


def test_a_worker_fetches_into_a_full_disk_once_it_has_room(farm: Farm) -> None:
    content = random.Random("full").randbytes(3 * MB)
    component_id = add_file(farm.sandbox, content)
    out = farm.make_file("marker", 1).parent
    pool = [pid for worker in farm.workers for pid in worker.pool_pids()]
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pool}
    try:
        for pid, (_, most) in limits.items():  # what is full for these processes
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (MB, most))
        done = farm.cli("fetch", component_id, "--to", out, "--enqueue")
        task_id = json.loads(done.stdout)["task_id"]

        def state() -> dict[str, Any]:
            return dict(json.loads(farm.cli("status", "--json", task_id).stdout))

        wait_until(lambda: state()["state"] == "failed")
        assert "cannot be written: File too large" in state()["error"]
        assert [path.name for path in out.iterdir()] == ["marker"], "others need the room"
    finally:
        for pid, before in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    assert farm.cli("retry", task_id).returncode == 0
    wait_until(lambda: state()["state"] == "fetched")
    [name] = {path.name for path in out.iterdir()} - {"marker"}
    assert (out / name).read_bytes() == content


def test_an_enqueued_download_is_followed_to_its_failure_and_retried(farm: Farm) -> None:
    content = random.randbytes(100_000)
    component_id = add_file(farm.sandbox, content)
    out = farm.make_file("other.txt", b"x").parent
    number = farm.sandbox.faults.add("store", "status", 404, method="GET")

    def shown(*arguments: str) -> dict[str, Any]:
        done = farm.cli("status", *arguments)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return next(line for line in lines if line["task_id"] == task_id)

    def is_now(state: str) -> bool:
        return bool(farm.redis.hget(f"farmhaul:fetch:{task_id}", "state") == state)

    with farm.frozen():
        done = farm.cli("fetch", component_id, "--to", out, "--enqueue")
        task_id = json.loads(done.stdout)["task_id"]
        queued = shown("--fetches")
        watch = subprocess.Popen(
            [BIN / "farmhaul", "watch", task_id],
            env=farm.environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watch.stdout
        assert f"queued     {task_id}" in watch.stdout.readline()
    watched, _ = watch.communicate(timeout=60)
    assert (watch.returncode, f"failed     {task_id}" in watched.splitlines()[-1]) == (4, True)
    wait_until(lambda: is_now("failed"))
    failed = shown(task_id)
    farm.sandbox.faults.remove(number)
    retried = farm.cli("retry", task_id)
    wait_until(lambda: is_now("fetched"))
    fetched = shown(task_id)

    assert (queued["state"], queued["component_id"]) == ("queued", component_id)
    assert queued["folder"] == str(out)
    assert f"the store refuses to return the file of component {component_id}" in failed["error"]
    assert failed["worker"]
    assert retried.stdout == f"{task_id} queued\n"
    assert (fetched["files"], fetched["fetched"], fetched["received"]) == (1, 1, len(content))
    assert fetched["size"] == len(content)
    assert fetched["error"] == ""
    assert (out / "plate.exr").read_bytes() == content
    # It has ended, so this does, too; on a terminal, the last state stays on the screen.
    again = farm.cli("watch", task_id)
    assert (again.returncode, again.stdout.partition("  ")[2]) == (
        0,
        f"fetched    {task_id}   100.0 kB  {component_id} -> {out}  1 of 1 files\n",
    )
    screen = Screen(farm, task_id)
    assert screen.wait() == 0
    assert f"fetched    {task_id}" in screen.text
    short = farm.cli("status", task_id[:8])
    assert json.loads(short.stdout)["task_id"] == task_id
    assert farm.cli("cancel", task_id).stdout == f"{task_id} fetched\n"  # too late
    both = farm.cli("watch", task_id, str(uuid.uuid4()))
    assert (both.returncode, "is no download" in both.stderr) == (2, True)


def test_a_cancelled_download_is_not_begun_and_can_be_retried(farm: Farm) -> None:
    component_id = add_file(farm.sandbox, random.randbytes(1000))
    out = farm.make_file("other.txt", b"x").parent
    with farm.frozen():
        done = farm.cli("fetch", component_id, "--to", out, "--enqueue")
        task_id = json.loads(done.stdout)["task_id"]
        assert farm.cli("cancel", task_id[:8].upper()).stdout == f"{task_id} cancelled\n"
    # What was asked for later has the same priority, so the worker has had both.
    later = farm.cli(
        "fetch", component_id, "--to", farm.make_file("x.txt", b"x").parent, "--enqueue"
    )
    key = f"farmhaul:fetch:{json.loads(later.stdout)['task_id']}"
    wait_until(lambda: farm.redis.hget(key, "state") == "fetched")

    assert not (out / "plate.exr").exists()
    [state] = [json.loads(line) for line in farm.cli("status", task_id).stdout.splitlines()]
    assert (state["state"], state["cancelled_by"]) == ("cancelled", state["asked_by"])
    assert farm.cli("watch", task_id).returncode == 4
    assert farm.cli("retry", task_id).stdout == f"{task_id} queued\n"
    wait_until((out / "plate.exr").exists)


def test_a_download_that_is_cancelled_stops_at_its_next_block(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = open_scripts(Settings(redis_server.url), redis.Redis.from_url(redis_server.url))
    fetches, file = Fetches(scripts), ComponentFile("a", "a.exr", size_bytes=700)
    progress = Progress(fetches, "three")
    monkeypatch.setattr(download_progress, "PROGRESS_S", 0.0)
    assert progress.begin("c", "/mnt/plates", "w1@node7")
    progress.moved(file, -1)

    assert fetches.cancel("three", "ada on ws12") == "cancelled"
    progress.moved(file, -1)  # it notes what has arrived, and learns of it
    with pytest.raises(UnwantedError):
        progress.moved(file, -1)

    progress.fail(OSError("late"), is_final=False)
    [state] = fetches.find(["three"]).values()
    assert (state.state, state.cancelled_by, state.has_ended) == ("cancelled", "ada on ws12", True)
    assert state.begun <= state.cancelled <= state.updated
    assert not Progress(fetches, "three").begin("c", "/mnt/plates", "w2@node8")
    assert fetches.cancel("unknown", "") == ""


def test_a_download_that_is_asked_for_again_runs_once(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = open_scripts(Settings(redis_server.url), redis.Redis.from_url(redis_server.url))
    fetches, file = Fetches(scripts), ComponentFile("a", "a.exr", size_bytes=700)
    asked = ("four", "c", "/mnt/plates", "ada on ws12")
    monkeypatch.setattr(download_progress, "PROGRESS_S", 0.0)
    before, now = 1795531206.25, 1795531206.125  # of a host whose clock is behind
    fetches.ask(*asked, before)
    first = Progress(fetches, "four", before)
    assert first.begin("c", "/mnt/plates", "w1@node7")
    assert fetches.cancel("four", "ada on ws12") == "cancelled"
    fetches.ask(*asked, now)

    # What it receives ends, what waits in the queue does not begin, and the record is the other's.
    assert Progress(fetches, "four", now).begin("c", "/mnt/plates", "w2@node8")
    first.moved(file, -1)
    with pytest.raises(UnwantedError):
        first.moved(file, -1)
    first.fail(OSError("late"), is_final=False)
    first.end()
    assert not Progress(fetches, "four", before).begin("c", "/mnt/plates", "w3@node9")
    [state] = fetches.find(["four"]).values()
    assert (state.state, state.worker, state.tries) == ("fetching", "w2@node8", 1)
    assert Progress(fetches, "four").begin("c", "/mnt/plates", "w1@node7")  # a former version's


def test_a_farm_without_downloads_says_so_to_people_alone(hook: Farm) -> None:
    said = [hook.cli("status", "--fetches", "--format", form).stdout for form in ("table", "json")]

    assert said == ["no downloads by workers are known\n", ""]


def test_digits_that_begin_two_ids_are_too_few(hook: Farm) -> None:
    fetches = Fetches(open_scripts(Settings(hook.sandbox.redis.url), hook.redis))
    start = str(uuid.uuid4())[:24]
    ids = [f"{start}{uuid.uuid4().hex[:12]}" for _ in range(2)]
    for fetch_id in ids:
        fetches.begin(fetch_id, seed.VERSION_ID, "/mnt/in", state="failed")

    refused = hook.cli("cancel", start.upper())

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(
        f"farmhaul: {start.upper()} begins 2 ids; give more digits: farmhaul status --format lines"
    )
    assert hook.cli("cancel", ids[1]).stdout == f"{ids[1]} failed\n"


def test_a_download_shows_what_has_arrived_and_why_it_waits(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = open_scripts(Settings(redis_server.url), redis.Redis.from_url(redis_server.url))
    fetches = Fetches(scripts)
    progress = Progress(fetches, "one")
    sizes = {"a": 700, "b": 1100, "c": 200}
    files = [ComponentFile(one, f"{one}.exr", size_bytes=size) for one, size in sizes.items()]
    clock = SimpleNamespace(now=10.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(download_progress, "time", clock)

    def shown() -> str:
        return fetch_line(fetches.find(["one"])["one"], human=True)

    progress.begin("c", "/mnt/plates", "w1@node7")
    progress.found(files)
    assert shown().endswith("0 of 3 files, 0 %  on w1@node7")
    progress.arrived(files[0], Fetched("fetched", 700))
    progress.moved(files[1], -1)  # its part has just become the file
    clock.now = 12.0
    progress.arrived(files[1], Fetched("fetched", 1100))
    progress.moved(files[2], -1)
    # From 700 to 1800 bytes in 2 s, so the other 200 take less than half a second.
    assert shown().endswith("2 of 3 files, 90 %, 550 B/s, 0s left  on w1@node7")
    progress.fail(OSError("https://store?X-Amz-Signature=s3cr3t"), is_final=False)

    [state] = fetches.find(["one", "unknown"]).values()
    assert (state.state, state.worker, state.folder) == ("retrying", "w1@node7", "/mnt/plates")
    assert (state.files, state.fetched, state.received_bytes) == (3, 2, 1800)
    assert (state.size_bytes, state.bytes_s, state.left_s) == (2000, 550, None)
    assert "OSError" in state.error
    assert "s3cr3t" not in state.error
    assert fetches.ids() == ["one"]
    scripts.client.zadd("farmhaul:fetches", {"expired": 1})
    fetches.trim()
    assert fetches.ids() == ["one"]
    assert 0 < scripts.client.ttl("farmhaul:fetch:one") <= scripts.ttl_s


@pytest.mark.parametrize("kept", [3000, 0], ids=["continued", "discarded"])
def test_the_rate_of_a_download_counts_only_what_this_run_gets(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: int
) -> None:
    scripts = open_scripts(Settings(redis_server.url), redis.Redis.from_url(redis_server.url))
    fetches = Fetches(scripts)
    progress = Progress(fetches, "two")
    there, begun, new = (ComponentFile(one, f"{one}.exr", size_bytes=5000) for one in "abc")
    clock = SimpleNamespace(now=10.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(download_progress, "time", clock)
    part = tmp_path / part_name_of(begun.component_id)
    part.write_bytes(b"x" * 3000)
    folder = os.open(tmp_path, os.O_RDONLY)

    progress.begin("c", "/mnt/plates", "w1@node7")
    progress.found([there, begun, new])
    progress.arrived(there, Fetched("present", 5000))
    progress.continues(begun, folder)
    part.write_bytes(b"x" * kept)
    progress.moved(begun, folder)
    assert fetches.find(["two"])["two"].bytes_s is None
    for new_bytes in (100, 500):
        clock.now += 2
        part.write_bytes(b"x" * (kept + new_bytes))
        progress.moved(begun, folder)
    os.close(folder)

    state = fetches.find(["two"])["two"]
    assert (state.received_bytes, state.bytes_s) == (5500 + kept, 200)


def test_a_watch_outlives_the_record_of_a_download(redis_server: RedisServer) -> None:
    scripts = open_scripts(Settings(redis_server.url), redis.Redis.from_url(redis_server.url))
    fetches = Fetches(scripts)
    for one, state in (("kept", "fetching"), ("gone", "fetched")):
        fetches.begin(one, "c", "/mnt/plates", state=state)

    def ends(found: Mapping[str, FetchState]) -> None:
        scripts.client.delete(fetch_key("gone"))
        fetches.note("kept", {"state": "fetched"})

    def fails(found: Mapping[str, FetchState]) -> None:
        fetches.note("kept", {"state": "failed"})

    assert _until_ended(fetches, ["kept", "gone"], ends)
    assert not _until_ended(fetches, ["kept", "unknown"], lambda found: None)
    fetches.note("kept", {"state": "fetching"})
    assert not _until_ended(fetches, ["kept"], fails)


def test_a_worker_follows_no_symlink_out_of_the_roots(farm: Farm, tmp_path: Path) -> None:
    component_id = add_file(farm.sandbox, b"x")
    out = farm.make_file("other.txt", b"x").parent / "later"
    with farm.frozen():
        done = farm.cli("fetch", component_id, "--to", out, "--enqueue")
        out.symlink_to(tmp_path)
    assert done.returncode == 0, done.stderr
    task_id = json.loads(done.stdout)["task_id"]

    wait_until(lambda: farm.redis.exists(f"celery-task-meta-{task_id}"))

    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a/b", "a\\b", "..", ".x", "a\nb", "", "x" * 256])
def test_a_name_that_is_not_a_plain_file_name_is_refused(
    hook: Farm, tmp_path: Path, name: str
) -> None:
    from tasks.transfer.ftrack import FtrackClient
    from tasks.transfer.lookup import find_files

    component_id = add_file(hook.sandbox, b"x", name, file_type="")
    client = FtrackClient(hook.sandbox.ftrack_url, seed.API_USER, seed.API_KEY)

    [file] = find_files(client, [component_id])

    assert (file.name, "rename it" in file.fault) == ("", True)


def test_a_name_that_is_not_a_file_name_stops_no_other_file(hook: Farm, tmp_path: Path) -> None:
    plate = add_file(hook.sandbox, b"plate")
    odd = (".profile", ".profile", "../a")
    unfit = [add_file(hook.sandbox, b"x", name, file_type="") for name in odd]
    out = tmp_path / "out"
    out.mkdir()

    lines = fetch(hook, out, unfit[0], plate, *unfit[1:], code=4)

    assert names(out) == ["plate.exr"]
    state = {line["component_id"]: (line["state"], line["path"]) for line in lines}
    assert state.pop(plate) == ("fetched", str(out / "plate.exr"))
    assert state == dict.fromkeys(unfit, ("failed", None))
    [told] = hook.cli("fetch", unfit[0], plate, "--to", out).stderr.splitlines()
    assert unfit[0] in told
    assert "rename it in ftrack" in told
